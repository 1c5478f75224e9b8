"""Train a run: from its newest checkpoint, or from nothing, to final.json."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from hdit_repro.data.datasets import open_dataset
from hdit_repro.files import read_json, write_json
from hdit_repro.jobs import Job
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.run import Run
from hdit_repro.stages.device import prepare
from hdit_repro.stages.settings import Progress, Report, Settings
from hdit_repro.training.constant import best_constant_loss
from hdit_repro.training.log import read_log
from hdit_repro.training.loop import LoopSettings, prepared, train

LAST_LINES = 3
"""Over how many of the last logged lines a run's final loss is averaged."""
CONSTANT_DRAWS = 2048
"""On how many draws the best constant predictor is fitted and measured."""


def run(job: Job, folder: RunFolder, settings: Settings, report: Report) -> Path:
    """Train `job` to the end; returns the marker of its final checkpoint.

    Raises:
        UserError: the data set is missing, or a checkpoint is of another configuration.
        RunError: the loss is not finite, or the disk is full.
    """
    if folder.done("train"):
        return folder.final_marker
    device = prepare(settings)
    images = open_dataset(job.run.data)
    started = time.monotonic()

    def on_step(done: int, total: int, values: dict[str, float]) -> None:
        report(Progress("train", done, total, f"loss {values['loss']:.4f}", values))

    loop = LoopSettings(device, settings.log_every, settings.save_seconds)
    state = train(job.run, images, folder.checkpoints, folder.metrics, loop, on_step)
    summary = {
        "seconds": _spent(folder, time.monotonic() - started),
        "loss_end": final_loss(folder.metrics),
        "loss_constant": constant_loss(job.run, images, device),
    }
    marker = read_json(folder.checkpoints / f"step-{state.step:08d}.json")
    write_json(folder.final_marker, {**marker, "summary": summary})
    return folder.final_marker


def final_loss(metrics: Path) -> float:
    """Mean of the last logged training losses."""
    losses = [line["loss"] for line in read_log(metrics)][-LAST_LINES:]
    return sum(losses) / len(losses)


def constant_loss(run: Run, images: Any, device: torch.device) -> float:
    """The best constant predictor's loss on the draws of the run's last steps."""
    last = run.training.total_steps
    _, batch = run.training.batch_at(last - 1)
    steps = min(last, max(1, CONSTANT_DRAWS // batch))
    return best_constant_loss(run, [draws for draws, _ in prepared(run, images, last - steps, last, device)])


def _spent(folder: RunFolder, seconds: float) -> float:
    """Seconds of training, those before a restart included as far as the log tells."""
    earlier = folder.path / "state" / "train.seconds.json"
    before = float(read_json(earlier)["seconds"]) if earlier.exists() else 0.0
    write_json(earlier, {"seconds": before + seconds})
    return before + seconds
