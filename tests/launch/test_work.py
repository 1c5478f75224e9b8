"""Images of references: how many an evaluation measures, and that rows which share them pay once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.price import price
from hdit_repro.launch.work import reference_work
from hdit_repro.records.layout import Roots
from hdit_repro.spec.evaluation import REAL_IMAGES, MetricKind
from hdit_repro.spec.run import Run

FFHQ = 70_000


def asking(run: Run, *metrics: MetricKind) -> Run:
    return msgspec.structs.replace(run, evaluation=msgspec.structs.replace(run.evaluation, metrics=metrics))


def test_an_evaluation_is_priced_with_the_images_of_its_reference() -> None:
    run, cluster = jobs.find("ffhq1024").run, read_cluster("a100")
    found = price(run, "evaluate", "paper", cluster)
    assert found.gpu_hours == pytest.approx((50_000 + FFHQ) / 1000 / 3600)
    assert "70,000 images of the reference too" in found.basis
    kept = price(run, "evaluate", "paper", cluster, real=0)
    assert kept.gpu_hours == pytest.approx(50_000 / 1000 / 3600)
    assert "reference" not in kept.basis
    assert "reference" not in price(run, "sample", "paper", cluster).basis
    smoke = jobs.find("table1/E", "smoke").run
    local = read_cluster("local")
    seconds = price(smoke, "evaluate", "smoke", local).hours * 3600
    assert seconds == pytest.approx((smoke.sampling.count + 1_500) / local.cpu_features_per_second)  # type: ignore[union-attr]


def test_what_is_made_of_a_reference_follows_the_metrics() -> None:
    ffhq, adm = jobs.find("ffhq1024").run, jobs.find("imagenet256").run

    def images(run: Run) -> list[int]:
        return sorted(reference_work(run).values())

    assert images(ffhq) == [FFHQ]
    assert images(asking(ffhq, "frechet", "kernel", "precision-recall")) == [REAL_IMAGES, FFHQ]
    assert images(asking(ffhq, "spatial-frechet")) == [FFHQ, FFHQ]
    assert images(asking(adm, "frechet", "spatial-frechet")) == []
    assert images(asking(adm, "precision-recall")) == [REAL_IMAGES]


def test_rows_that_share_a_reference_pay_for_it_once(roots: Roots, cache: Path) -> None:
    plan = make_plan(wanted("table1", "smoke", ["A", "E"]), roots, read_cluster("local"))
    first, second = (stage for stage in plan if stage.stage == "evaluate")
    count = jobs.find("table1/A", "smoke").run.sampling.count
    assert first.hours == pytest.approx(second.hours * (count + 1_500) / count)
