"""How much work a stage is: in forward passes of one image, in images of a reference. No torch."""

from __future__ import annotations

from collections.abc import Hashable

from msgspec import UNSET

from hdit_repro.spec.data import facts_of
from hdit_repro.spec.evaluation import REAL_IMAGES, AdmReference, MetricKind
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision

TRAINING_PASSES = 3
"""A training image costs a forward and a backward pass, and the backward pass twice the forward."""

SINGLE: frozenset[MetricKind] = frozenset(("kernel", "kernel-chunks", "precision-recall"))
"""The metrics that compare with single images of a reference, `REAL_IMAGES` of them."""


def forward_images(run: Run, stage: str) -> int:
    """A stage's work in forward passes of one image; evaluation runs another network and has none."""
    if stage == "train":
        return TRAINING_PASSES * run.training.samples_seen
    return run.sampling.count * run.sampling.network_calls if stage == "sample" else 0


def arithmetic(run: Run, stage: str) -> Precision:
    """What a stage's network multiplies in."""
    drawn = run.sampling.precision
    return run.training.precision if stage == "train" or drawn is UNSET else drawn


def reference_work(run: Run) -> dict[Hashable, int]:
    """Images of the reference that go through the feature network, by what is made of them. It is kept: what two runs
    share has one key and is made once. ADM's files bring their moments along."""
    spec, asked, extractor = run.evaluation.reference, set(run.evaluation.metrics), run.evaluation.extractor
    if isinstance(spec, AdmReference):
        return {("single", extractor, spec): REAL_IMAGES} if asked & SINGLE else {}
    images = facts_of(run.data.dataset).images if spec.count is None else spec.count
    of = (extractor, run.data.dataset, run.data.resolution, run.data.transform)
    found: dict[Hashable, int] = {("moments", *of, images): images}
    if "spatial-frechet" in asked:
        found["spatial", *of, images] = images
    if asked & SINGLE:
        found["single", *of, min(REAL_IMAGES, images)] = min(REAL_IMAGES, images)
    return found
