"""Every kind of metric: that it is measured, under its names, and that what it asks of a reference is priced."""

from __future__ import annotations

from typing import get_args

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.launch.work import reference_work
from hdit_repro.metrics.extractors.base import FEATURES, LOGITS, SPATIAL
from hdit_repro.records.schema import Reference
from hdit_repro.spec.base import kinds
from hdit_repro.spec.evaluation import FRECHET_NAMES, Evaluation, Extractor, Inception2015, MetricKind, metric_names
from hdit_repro.stages.measure import MEASURES, Sides, measure
from hdit_repro.stages.reference import LoadedReference

COUNT, WIDTH = 64, 6


def test_every_kind_is_measured_and_every_feature_network_names_its_distance() -> None:
    assert set(MEASURES) == set(get_args(MetricKind))
    assert set(FRECHET_NAMES) == set(kinds(Extractor))


@pytest.mark.parametrize("kind", get_args(MetricKind))
def test_what_a_metric_asks_of_a_reference_is_priced(kind: MetricKind) -> None:
    """`SINGLE` of launch/work.py, without torch, must name the kinds that ask for single images here."""
    asked: set[str] = set()

    def features() -> torch.Tensor:
        asked.add("single")
        return torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(1))

    def spatial() -> tuple[np.ndarray, np.ndarray]:
        asked.add("spatial")
        return np.zeros(WIDTH), np.eye(WIDTH)

    described = Reference(
        kind="dataset", name="r", digest="0" * 64, count=COUNT, split="train", resolution=64, transform="none"
    )
    reference = LoadedReference(np.zeros(WIDTH), np.eye(WIDTH), described, spatial=spatial, features=features)
    generator = torch.Generator().manual_seed(0)
    samples = {name: torch.randn(COUNT, WIDTH, generator=generator) for name in (FEATURES, LOGITS, SPATIAL)}
    found = measure([kind], "inception-2015", Sides(samples, reference), COUNT)
    assert tuple(found) == metric_names(kind, "inception-2015")
    run = jobs.find("ffhq1024").run
    evaluation = Evaluation(extractor=Inception2015(), reference=run.evaluation.reference, metrics=(kind,))
    priced = {str(key[0]) for key in reference_work(msgspec.structs.replace(run, evaluation=evaluation))}  # type: ignore[index]
    assert priced - {"moments"} == asked


@pytest.mark.parametrize(("count", "parts"), [(1_000, 1), (5_001, 2)])
def test_a_score_of_one_part_has_no_scatter_of_parts(count: int, parts: int) -> None:
    """A deviation over one part is 0, and would stand as an interval of no width around the score."""
    logits = torch.randn(count, 5, generator=torch.Generator().manual_seed(0))
    described = Reference(
        kind="dataset", name="r", digest="0" * 64, count=COUNT, split="train", resolution=64, transform="none"
    )
    sides = Sides({FEATURES: logits, LOGITS: logits}, LoadedReference(np.zeros(5), np.eye(5), described))
    found = measure(["inception-score"], "inception-2015", sides, count)["inception-score"]
    assert (found.low is None) == (found.interval is None) == (parts == 1)
