"""Train a run: from its newest checkpoint, or from nothing, to final.json."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from msgspec import to_builtins

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import RunError, counted
from hdit_repro.files import read_json, write_json
from hdit_repro.jobs import Job
from hdit_repro.records.imported import is_imported, lost
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.evaluation import DatasetReference
from hdit_repro.spec.run import Run
from hdit_repro.stages.device import device_name, prepare
from hdit_repro.stages.heap import HugePages
from hdit_repro.stages.model_card import write_card
from hdit_repro.stages.settings import HowToTrain, Progress, Report, Settings
from hdit_repro.stages.spent import Seconds, Spent
from hdit_repro.stages.summary import Summary
from hdit_repro.training.acceleration import deterministic
from hdit_repro.training.checkpoint import unmark
from hdit_repro.training.constant import best_constant_loss
from hdit_repro.training.distributed import World, join, local_device
from hdit_repro.training.feed import Source, open_source
from hdit_repro.training.fitting import Fitting, fitting
from hdit_repro.training.journal import LAST_STEPS, events_path
from hdit_repro.training.log import read_log
from hdit_repro.training.loop import LoopSettings, prepared, train
from hdit_repro.training.objective import Draws
from hdit_repro.training.rendezvous import place
from hdit_repro.training.signals import Preempted, Stop

NOT_SKIPPED = (
    "training takes another image for one that cannot be read, but this run is measured against the same images, which "
    "must all be readable by then: `hdit-repro data verify PATH --full` names those that are not"
)
CONSTANT_DRAWS = 2048
"""On how many draws the best constant predictor is fitted and measured."""
AT_ONCE = 1 << 26
"""Values of images at a time meanwhile: 21 images of 1024^2, 341 of 256^2."""


def run(job: Job, folder: RunFolder, settings: Settings, report: Report) -> Path:
    """Train `job` to the end, as one process or as one of several; returns the marker of its final checkpoint.

    Raises:
        UserError: the data set is missing, a checkpoint is of another configuration, or others trained the weights.
        RunError: losses are not finite, the disk or the card is full, or another process is gone.
        Preempted: asked to leave by USR2, TERM, the time limit or a file `stop` in the run's folder; all is saved, and
            the training may be done by then.
    """
    here = place(settings.distributed)
    if here.size == 1 and folder.done("train"):
        return folder.final_marker
    if is_imported(job.run) and not folder.done("train"):
        raise lost({job.name: folder})
    with deterministic(settings.training.deterministic):
        device = local_device(prepare(settings), here)
        with join(here, device) as world:
            if world.from_main(int(folder.done("train"))):
                return folder.final_marker
            with Stop(folder.path / "stop" if world.main else None, settings.time_limit, tells=world.main) as stop:
                _train(job.run, folder, settings, report, world, stop)
            if world.main:
                write_card(job, folder)
            world.wait()
            if world.main and stop.signum is not None:
                raise _asked_at_the_end(stop)
    return folder.final_marker


def _asked_at_the_end(stop: Stop) -> Preempted:
    """The error of a training that was asked to leave by a signal after its last step, so that whoever sent it is not
    kept waiting by the stages that come after."""
    error = Preempted(
        "the training is done, and its process was asked to leave",
        found=stop.reason,
        expected="more time for what comes after",
        fix="run the same command again: it goes on from there",
    )
    error.signum = stop.signum
    return error


def _train(run: Run, folder: RunFolder, settings: Settings, report: Report, world: World, stop: Stop) -> None:
    """The training, and the final marker by the main process."""
    if world.main and settings.training.unreadable == "skip" and isinstance(run.evaluation.reference, DatasetReference):
        warnings.warn(NOT_SKIPPED, stacklevel=2)
    images = open_source(open_dataset(run.data), settings.training.unreadable)
    device = device_name(world.device)
    spent = Spent(folder.path / "state" / "train.seconds.json", world.size, device) if world.main else None
    pages = HugePages() if world.device.type == "cpu" else None

    def on_step(done: int, total: int, values: dict[str, float]) -> None:
        if spent is not None:
            spent.look()
        if pages is not None:
            pages.look()
        report(Progress("train", done, total, f"loss {values['loss']:.4f}", values))

    how = _loop(run, settings.training, world, stop)
    if world.main:
        unmark(folder.checkpoints, run.training_id)
    try:
        state = train(run, images, folder.checkpoints, folder.metrics, how, on_step)
    except torch.OutOfMemoryError as error:
        raise _full(error, run, how, world) from error
    finally:
        total = spent.note() if spent is not None else Seconds()
    if world.main:
        summary = Summary(
            **total._asdict(),
            processes=world.size,
            device=device,
            loss_end=final_loss(folder.metrics, run.training.total_steps),
            loss_constant=constant_loss(run, images, world.device),
            skipped_steps=state.watchdog.skipped,
            replaced_images=_replaced(folder.metrics),
        )
        marker = read_json(folder.checkpoints / f"step-{state.step:08d}.json")
        write_json(folder.final_marker, {**marker, "summary": to_builtins(summary)})


def _full(error: torch.OutOfMemoryError, run: Run, how: LoopSettings, world: World) -> RunError:
    """The error of a training that a card does not hold: the estimate was too low, or something else is on the card."""
    at_once = how.microbatch or max(span.batch for span in run.training.spans) // world.size
    option = f"--microbatch {at_once // 2}" if at_once > 1 else "--microbatch 1 --recompute"
    return RunError(
        "the card's memory does not hold a step of this training",
        found=str(error),
        expected=f"room for {counted(at_once, 'image')} at once" + (", recomputed" if how.recompute else ""),
        fix=f"{option}; on a cluster they are keys of [training] in its profile. `nvidia-smi` says what else is there",
    )


def _loop(run: Run, how: HowToTrain, world: World, stop: Stop) -> LoopSettings:
    fit = fitting(run, world.device, world.size, 1 + len(how.ema_decays), Fitting(how.microbatch, how.recompute))
    return LoopSettings(
        device=world.device,
        log_every=how.log_every,
        save_seconds=how.save_seconds,
        world=world,
        microbatch=fit.microbatch,
        stop=stop,
        averages=tuple(sorted(set(how.ema_decays))),
        snapshots=how.snapshots,
        recompute=fit.recompute,
        compiled=how.compile,
        tensorboard=how.tensorboard,
    )


def final_loss(metrics: Path, steps: int) -> float | None:
    """Mean training loss of the last of a run's `steps`; None where none of them was taken, or a line was lost."""
    last = range(max(0, steps - LAST_STEPS) + 1, steps + 1)
    losses = {
        line["step"]: float(line["loss"]) for line in read_log(metrics) if line["step"] in last and "loss" in line
    }
    skipped = {line["step"] for line in read_log(events_path(metrics)) if line.get("event") == "skip"}
    return sum(losses.values()) / len(losses) if losses and skipped.union(losses).issuperset(last) else None


def constant_loss(run: Run, images: Source, device: torch.device) -> float:
    """The best constant predictor's loss on the draws of the run's last steps."""
    return best_constant_loss(run, _LastDraws(run, images, device))


class _LastDraws:
    """The draws of a run's last steps, read anew each time and a few at a time: at 1024^2 all of them and their noise
    would fill a card."""

    def __init__(self, run: Run, images: Source, device: torch.device) -> None:
        self.run, self.images, self.device = run, images, device

    def __iter__(self) -> Iterator[Draws]:
        run, last = self.run, self.run.training.total_steps
        _, batch = run.training.batch_at(last - 1)
        steps = min(last, max(1, CONSTANT_DRAWS // batch))
        most = max(1, AT_ONCE // (run.model.channels * run.data.resolution**2))
        for draws, _ in prepared(run, self.images, last - steps, last, self.device, most):
            yield draws


def _replaced(metrics: Path) -> int:
    """How many images could not be read and were replaced."""
    return len({line.get("image") for line in read_log(events_path(metrics)) if line.get("event") == "unreadable"})
