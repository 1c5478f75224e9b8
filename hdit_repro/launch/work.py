"""How much work a stage is, in forward passes of one image. No torch."""

from __future__ import annotations

from hdit_repro.spec.run import Run

TRAINING_PASSES = 3
"""A training image costs a forward and a backward pass, and the backward pass twice the forward."""


def forward_images(run: Run, stage: str) -> int:
    """A stage's work in forward passes of one image; evaluation runs another network and has none."""
    if stage == "train":
        return TRAINING_PASSES * run.training.samples_seen
    return run.sampling.count * run.sampling.network_calls if stage == "sample" else 0
