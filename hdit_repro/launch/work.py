"""How much work a stage is, in forward passes of one image. No torch."""

from __future__ import annotations

from hdit_repro.spec.run import Run
from hdit_repro.spec.sampling import Heun, Sampling

TRAINING_PASSES = 3
"""A training image costs a forward and a backward pass, and the backward pass twice the forward."""


def network_evaluations(sampling: Sampling) -> int:
    """Calls of the network for one sample: Heun calls twice a step but the last, guidance doubles every call."""
    steps = sampling.sampler.steps
    calls = 2 * steps - 1 if isinstance(sampling.sampler, Heun) else steps
    return calls * (1 if sampling.guidance == 1.0 else 2)


def forward_images(run: Run, stage: str) -> int:
    """A stage's work in forward passes of one image; evaluation runs another network and has none."""
    if stage == "train":
        return TRAINING_PASSES * run.training.samples_seen
    return run.sampling.count * network_evaluations(run.sampling) if stage == "sample" else 0
