"""The training loop: take a step, note it, save, leave when asked. Everything else is a named function."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import torch

from hdit_repro.data.loader import Batch
from hdit_repro.errors import RunError, UserError
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Ema
from hdit_repro.training.acceleration import accelerated
from hdit_repro.training.checkpoint import Checkpoint, has_snapshot, newest, newest_file, read_step
from hdit_repro.training.distributed import World
from hdit_repro.training.ema import EmaWeights, written
from hdit_repro.training.feed import Source, cut, feed
from hdit_repro.training.journal import Journal, StepReport
from hdit_repro.training.meter import Meter
from hdit_repro.training.objective import Draws
from hdit_repro.training.optim import make_optimizer
from hdit_repro.training.rendezvous import check_size
from hdit_repro.training.signals import Preempted, Stop
from hdit_repro.training.state import TrainingState
from hdit_repro.training.step import Stepper, Wishes, draws_of
from hdit_repro.training.watchdog import LIMIT
from hdit_repro.training.writer import CheckpointWriter


class NotKept(UserWarning):
    """Averages were asked for when the run was past them; rows that are drawn from them cannot be."""


class LoopSettings(NamedTuple):
    """What cannot change a run's numbers.

    device: of this process. log_every: steps between log lines. save_seconds: between checkpoints. world: the
    processes. microbatch: draws at once in each process, 0 all. stop: who may ask the run to leave. averages: decays
    of further averages of the weights; a run that is under way keeps those that it began with. snapshots: steps at
    which the averages are kept. recompute, compiled: see `acceleration`. tensorboard: scalars beside the log.
    """

    device: torch.device
    log_every: int = 10
    save_seconds: float = 600.0
    world: World | None = None
    microbatch: int = 0
    stop: Stop | None = None
    averages: tuple[float, ...] = ()
    snapshots: tuple[int, ...] = ()
    recompute: bool = False
    compiled: bool = False
    tensorboard: bool = False


def new_state(run: Run, device: torch.device, averages: tuple[float, ...] = ()) -> TrainingState:
    """A run before its first step; the weights follow from the run's seed."""
    network = build(run.model, seed=run.seed).to(device)
    ema, power = run.training.ema, run.training.ema.warmup_power
    more = {decay: EmaWeights(network, Ema(decay=decay, warmup_power=power)) for decay in averages}
    return TrainingState(network, EmaWeights(network, ema), make_optimizer(network, run.training.optimizer), 0, more)


def resume(state: TrainingState, folder: Path, run: Run, world: World) -> None:
    """Bring `state` to the newest whole checkpoint of the run, if there is one: in all processes the main one's.

    Raises:
        RunError: this process cannot read what the main one goes on from.
        UserError: the newest checkpoint is of another configuration.
    """
    found: Checkpoint | None = newest(folder, run.training_id) if world.main else None
    step = world.from_main(-1 if found is None else found.step)
    if found is None and step >= 0:
        found = read_step(folder, step, run.training_id)
    if found is not None:
        state.restore(found.tensors, found.step)


def train(
    run: Run, images: Source, checkpoints: Path, metrics: Path, settings: LoopSettings, report: StepReport
) -> TrainingState:
    """Train a run from its newest checkpoint to its last step, and leave a checkpoint there.

    Raises:
        RunError: three steps in a row are not finite, the disk is full, or another process is gone.
        Preempted: the run was asked to leave; its last step is saved.
        UserError: the settings and the run, its checkpoints or the other processes do not fit together.
    """
    world = settings.world or World(device=settings.device)
    check_size(run.training, world.size)
    state = new_state(run, settings.device, settings.averages)
    resume(state, checkpoints, run, world)
    _check_processes(run, state, world)
    _check_snapshots(settings.snapshots, run.training.total_steps)
    if world.main:
        _say_what_is_late(settings, state, checkpoints)
    network = accelerated(state.network, recompute=settings.recompute, compiled=settings.compiled)
    stepper = Stepper(run, state, world, settings.microbatch, network)
    meter = Meter(run, world)
    journal = Journal(
        run, state, metrics, images, meter, report,
        every=settings.log_every, main=world.main, tensorboard=settings.tensorboard,
    )  # fmt: skip
    writer = CheckpointWriter(checkpoints, run.training_id, active=world.main, before=journal.sync)
    state.network.train()
    with journal, writer:
        advance(run, images, state, stepper, journal, writer, settings)
    return state


def advance(
    run: Run,
    images: Source,
    state: TrainingState,
    stepper: Stepper,
    journal: Journal,
    writer: CheckpointWriter,
    settings: LoopSettings,
) -> None:
    """Take the steps that are left, and save.

    While the device computes a step, the host asks for the next one and then learns what came of the one before. It
    waits only where the state as it is now is wanted: to save it, to leave, at the end.
    """
    world, total, clock = stepper.world, run.training.total_steps, _Clock(settings)
    with closing(feed(run, images, state.step, total, world.share, settings.device)) as parts:
        while state.step < total:
            with journal.meter.waiting():
                fed = next(parts)
            stepper.begin(fed, clock.wishes())
            told = _settle(stepper, journal, writer)
            stepper.update()
            journal.look()
            # Alone, a wish is heard at once; others hear of it when the step at which it was uttered is settled.
            leave, save = clock.wishes() if world.size == 1 else told
            if not (leave or save or state.step in settings.snapshots or state.step == total):
                continue
            _settle(stepper, journal, writer)
            if state.step in settings.snapshots:
                writer.snapshot(state)
            if leave and state.step < total:
                writer.save(state)
                _finish_writing(writer, world)
                raise _left(state.step, writer, settings.stop)
            if save and state.step < total:
                writer.save(state)
                clock.saved()
    writer.save(state)


def _settle(stepper: Stepper, journal: Journal, writer: CheckpointWriter) -> Wishes:
    """Learn what came of the step taken last and note it; returns what any process wished at its beginning.

    Raises:
        RunError: it was the third in a row that is not finite, or the disk is full.
    """
    outcome = stepper.settle()
    if outcome is None:
        return Wishes()
    journal.note(outcome)
    writer.poll()
    if outcome.verdict == "stop":
        _finish_writing(writer, stepper.world)
        raise not_finite(outcome.loss, outcome.grad_norm, stepper.state.step, writer.folder)
    return Wishes(outcome.leave, outcome.save)


class _Clock:
    """Whether this process wants to leave or to save."""

    def __init__(self, settings: LoopSettings) -> None:
        self.stop, self.seconds = settings.stop, settings.save_seconds
        self.saved()

    def saved(self) -> None:
        self._since = time.monotonic()

    def wishes(self) -> Wishes:
        return Wishes(bool(self.stop and self.stop.reason), time.monotonic() - self._since > self.seconds)


def prepared(
    run: Run, images: Source, first: int, last: int, device: torch.device, most: int = 0
) -> Iterator[tuple[Draws, Batch]]:
    """The draws of steps `first` to `last` - 1, ready for the network, at most `most` at a time (0: a step's)."""
    with closing(feed(run, images, first, last, device=device)) as parts:
        for fed in parts:
            for piece in cut(fed, most):
                yield draws_of(run, piece, device), piece.batch


def not_finite(loss: float, norm: float, step: int, checkpoints: Path) -> RunError:
    """The error of a run that has come apart."""
    last = newest_file(checkpoints, step)
    return RunError(
        f"{LIMIT} steps in a row had a loss or gradient that is not finite, and the run stops",
        found=f"loss {loss}, gradient norm {norm} at step {step}",
        expected="finite numbers",
        fix=f"the last good checkpoint is {last}" if last else "there is no checkpoint yet; the first steps fail",
    )


def _finish_writing(writer: CheckpointWriter, world: World) -> None:
    """All wait for the main process's files: a launcher soon ends those that outlast the first to leave."""
    writer.wait()
    world.wait()


def _left(step: int, writer: CheckpointWriter, stop: Stop | None) -> Preempted:
    """The error of a run that leaves, saved."""
    reason = (stop.reason if stop else "") or "another process was asked"
    error = Preempted(
        "the run was asked to leave and is saved",
        found=f"{reason}, after step {step}",
        expected="more time",
        fix="run the same command again: it goes on from there",
    )
    error.signum = stop.signum if stop else None
    if stop and writer.active:
        stop.answered()
    return error


def _check_processes(run: Run, state: TrainingState, world: World) -> None:
    world.agree("the run", int(run.training_id, 16))
    world.agree("the step", state.step)
    world.agree("the averages of the weights", len(state.averages))


def _check_snapshots(steps: tuple[int, ...], total: int) -> None:
    """Refuse snapshots that no run of so many steps can take.

    Raises:
        UserError: a step is beyond the run's end.
    """
    missed = [step for step in steps if not 1 <= step <= total]
    if missed:
        raise UserError(
            "averages cannot be kept at these steps",
            found=", ".join(map(str, missed)),
            expected=f"steps from 1 to {total}",
            fix="leave them out",
        )


def _say_what_is_late(settings: LoopSettings, state: TrainingState, folder: Path) -> None:
    """Warn of averages that a run which is under way cannot keep any more; it goes on for what it can."""
    steps = [step for step in settings.snapshots if step <= state.step and not has_snapshot(folder, step)]
    late = [f"the averages at step {step}" for step in steps]
    late += [f"the average of decay {written(decay)}" for decay in settings.averages if decay not in state.averages]
    if late:
        warnings.warn(
            NotKept(
                f"{', '.join(late)}: asked for after step {state.step}, when it is too late. The run goes on, and rows "
                f"drawn from what it lacks need a run of their own: delete {folder.parent} to train it again"
            ),
            stacklevel=2,
        )
