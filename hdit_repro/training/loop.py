"""The training loop: read a batch, take a step, average, log, save. Everything else is a named function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hdit_repro.data.images import Images
from hdit_repro.data.loader import Batch, batches
from hdit_repro.errors import RunError
from hdit_repro.models.build import build
from hdit_repro.models.dropout import keyed
from hdit_repro.spec.run import Run
from hdit_repro.training.checkpoint import newest, save_checkpoint, thin
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.log import MetricsLog
from hdit_repro.training.objective import Draws, Objective, make_draws, make_objective
from hdit_repro.training.optim import make_optimizer
from hdit_repro.training.state import TrainingState


class LoopSettings(NamedTuple):
    """What cannot change a run's numbers: device, steps between log lines, seconds between checkpoints."""

    device: torch.device
    log_every: int = 10
    save_seconds: float = 600.0


StepReport = Callable[[int, int, dict[str, float]], None]
"""Called after logged steps with (steps done, steps in all, values)."""


def new_state(run: Run, device: torch.device) -> TrainingState:
    """A run before its first step; the weights follow from the run's seed."""
    network = build(run.model, seed=run.seed).to(device)
    return TrainingState(
        network, EmaWeights(network, run.training.ema), make_optimizer(network, run.training.optimizer)
    )


def resume(state: TrainingState, folder: Path, run: Run) -> None:
    """Bring `state` to the newest whole checkpoint of the run, if there is one."""
    found = newest(folder, run.training_id)
    if found is not None:
        state.restore(found.tensors, found.step)


def train(
    run: Run, images: Images, checkpoints: Path, metrics: Path, settings: LoopSettings, report: StepReport
) -> TrainingState:
    """Train a run from its newest checkpoint to its last step, and leave a checkpoint there.

    Raises:
        RunError: the loss is not finite.
    """
    state = new_state(run, settings.device)
    resume(state, checkpoints, run)
    objective, total = make_objective(run), run.training.total_steps
    log = MetricsLog(metrics, state.step)
    state.network.train()
    started = saved = time.monotonic()
    seen = 0
    for draws, batch in prepared(run, images, state.step, total, settings.device):
        values = step(state, objective, draws, run)
        seen += batch.images.shape[0]
        if state.step % settings.log_every == 0 or state.step == total:
            rate = seen / (time.monotonic() - started)
            line = {name: float(value) for name, value in values.items()}
            check_finite(line["loss"], state.step, checkpoints)
            log.append({"step": state.step, **line, "images_per_s": rate})
            report(state.step, total, {**line, "images_per_s": rate})
        if time.monotonic() - saved > settings.save_seconds and state.step < total:
            save(state, checkpoints, run)
            saved = time.monotonic()
    save(state, checkpoints, run)
    return state


def prepared(run: Run, images: Images, first: int, last: int, device: torch.device) -> Iterator[tuple[Draws, Batch]]:
    """The draws of steps `first` to `last` - 1, ready for the network."""
    spans = (run.training.batch_at(number) for number in range(first, last))
    for batch in batches(images, spans, seed=run.seed, flip=run.data.flip):
        numbers = batch.draws.tolist()
        yield make_draws(run, batch.images, batch.labels, numbers, numbers[0], len(numbers), device), batch


def step(state: TrainingState, objective: Objective, draws: Draws, run: Run) -> dict[str, Tensor]:
    """One optimiser step; returns tensors that nobody has waited for yet."""
    state.optimizer.zero_grad(set_to_none=True)
    bfloat16 = run.training.precision == "bfloat16"
    with torch.autocast(draws.images.device.type, torch.bfloat16, enabled=bfloat16), keyed(state.network, draws.keys):
        loss = objective(state.network, draws).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = clip(state.network, run.training.clip)
    state.optimizer.step()
    state.ema.update(state.network, state.step)
    state.step += 1
    return {"loss": loss.detach(), "grad_norm": norm}


def clip(network: nn.Module, limit: float) -> Tensor:
    """Scale gradients down to a norm of `limit` (0: leave them); returns the norm before."""
    return nn.utils.clip_grad_norm_(network.parameters(), limit if limit else float("inf"))


def check_finite(loss: float, step: int, checkpoints: Path) -> None:
    """Stop a run that has come apart.

    Raises:
        RunError: the loss is infinite or no number; the message has the step.
    """
    if not torch.isfinite(torch.tensor(loss)):
        raise RunError(
            "the loss is not finite",
            found=f"{loss} at step {step}",
            expected="a number",
            fix=f"the newest whole checkpoint is in {checkpoints}; a lower learning rate or float32 may help",
        )


def save(state: TrainingState, checkpoints: Path, run: Run) -> None:
    """Write a checkpoint and thin the older ones."""
    save_checkpoint(checkpoints, state.tensors(), state.step, run.training_id)
    thin(checkpoints)
