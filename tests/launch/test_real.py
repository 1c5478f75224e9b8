"""Parts of references that are kept: told from others by what the stages write beside them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import Stage, make_plan, wanted
from hdit_repro.launch.real import kept_facts, kept_parts
from hdit_repro.metrics.extractors.base import SPATIAL
from hdit_repro.metrics.reference import reference_facts, reference_path
from hdit_repro.records.layout import Roots
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder
from hdit_repro.spec.evaluation import DatasetReference, Evaluation, Inception2015, MetricKind
from hdit_repro.spec.run import Run

IMAGES = 3_781
"""Of the emoji, and of single ones that metrics compare with."""


pytestmark = pytest.mark.usefixtures("cache")


def facts_of(run: Run, count: int, *output: str) -> dict[str, Any]:
    """What the stages say of a reference, with weights and preparation that no plan looks at."""
    network: Any = SimpleNamespace(name=kind_of(run.evaluation.extractor), digest="w", protocol="p")
    return reference_facts(open_dataset(run.data), network, count, *output)


def keep(facts: dict[str, Any]) -> Path:
    path = reference_path(facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"features": np.zeros(1, np.float32)}, path, {"facts": json.dumps(facts)})
    return path


def evaluations(roots: Roots) -> list[Stage]:
    plan = make_plan(wanted("table1", "smoke", ["A", "E"]), roots, read_cluster("local"))
    return [stage for stage in plan if stage.stage == "evaluate"]


def test_a_plan_charges_for_no_reference_that_is_kept(roots: Roots) -> None:
    run = jobs.find("table1/E", "smoke").run
    before = evaluations(roots)
    assert "1,500 images of the reference too" in before[0].basis
    path = keep(facts_of(run, 1_500))
    after = evaluations(roots)
    assert [stage.hours for stage in after] == [before[1].hours] * 2
    assert "reference" not in after[0].basis
    path.write_bytes(path.read_bytes()[:20])
    assert evaluations(roots) == before, "a damaged one is measured again"


def test_a_reference_of_anything_else_is_another() -> None:
    run = jobs.find("table1/E", "smoke").run
    facts = facts_of(run, 1_500)
    assert len(kept_parts(run, [facts])) == 1
    for change in (
        {"version": 0}, {"dataset": "ffhq"}, {"resolution": 32}, {"transform": "none"}, {"count": 1_000},
        {"extractor": "inception-2015"}, {"output": "spatial"}, {"kind": "floor"}, {"kind": "features"},
    ):  # fmt: skip
        assert kept_parts(run, [{**facts, **change}]) == set(), change


def test_each_part_is_looked_for_by_itself() -> None:
    run = jobs.find("table1/E", "smoke").run
    metrics: tuple[MetricKind, ...] = ("frechet", "kernel", "spatial-frechet")
    evaluation = Evaluation(extractor=Inception2015(), reference=DatasetReference(), metrics=metrics)
    run = msgspec.structs.replace(run, evaluation=evaluation)
    facts = {
        "moments": facts_of(run, IMAGES),
        "spatial": facts_of(run, IMAGES, SPATIAL),
        "single": {**facts_of(run, IMAGES), "kind": "features"},
    }
    for name, each in facts.items():
        keep(each)
        assert [part[0] for part in kept_parts(run, [each])] == [name]  # type: ignore[index]
    assert {part[0] for part in kept_parts(run, kept_facts())} == set(facts)  # type: ignore[index]


def test_images_of_ones_own_are_told_by_their_digest() -> None:
    run = jobs.find("table1/E", "smoke").run
    own = Folder(name="pets", digest="0" * 64, images=2_000, classes=run.model.classes)
    mine = msgspec.structs.replace(run, data=msgspec.structs.replace(run.data, dataset=own))
    facts = {**facts_of(run, 1_500), "dataset": "pets", "dataset_digest": "0" * 64}
    assert len(kept_parts(mine, [facts])) == 1
    assert kept_parts(mine, [{**facts, "dataset_digest": "1" * 64}]) == set()


def test_images_of_a_published_file_are_told_by_its_name() -> None:
    run = jobs.find("imagenet256").run
    run = msgspec.structs.replace(
        run, evaluation=msgspec.structs.replace(run.evaluation, metrics=("precision-recall",))
    )
    facts = {"kind": "features", "dataset": "VIRTUAL_imagenet256_labeled", "resolution": 256}
    facts["extractor"] = "inception-2015"
    assert [part[0] for part in kept_parts(run, [facts])] == ["single"]  # type: ignore[index]
    assert kept_parts(run, [{**facts, "dataset": "VIRTUAL_imagenet512"}]) == set()


def test_where_there_is_no_cache_nothing_is_kept(tmp_path: Path) -> None:
    assert kept_facts(tmp_path / "none") == []
