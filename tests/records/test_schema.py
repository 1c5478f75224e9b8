"""What a record may say."""

from __future__ import annotations

import contextlib
import math
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro import jobs
from hdit_repro.records import implied, store
from hdit_repro.records.schema import (
    CONTEXT,
    METRICS,
    Metric,
    Protocol,
    Provenance,
    Record,
    Reference,
    asked_samples,
    make,
    metric_name,
)
from hdit_repro.spec.evaluation import FRECHET_NAMES, MetricKind, metric_names


def test_the_readme_of_results_explains_every_field_and_metric() -> None:
    text = (Path(__file__).parents[2] / "results/README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`]+)`", text))
    fields = [name for kind in (Record, Metric, Protocol, Reference, Provenance) for name in kind.__struct_fields__]
    assert {*fields, *CONTEXT} - told == set()
    metrics = re.findall(r"`([^`]+)`", text.partition("### Metrics")[2].partition("### Context")[0])
    assert [name for name in METRICS if not any(fnmatch(name, pattern) for pattern in metrics)] == []


def test_names_say_how_many_samples() -> None:
    assert metric_name("fid", 50_000, 50_000) == "fid"
    assert metric_name("fid", 5_000, 50_000) == "fid@5000"
    assert metric_name("inception-score", 10_000, 50_000) == "inception-score@10000"
    assert metric_name("fd-efficientnet-lite0", 128, asked_samples("smoke", 128)) == "fd-efficientnet-lite0"
    assert metric_name("fid", 5_000, asked_samples("paper", 5_000)) == "fid@5000"


@given(count=st.integers(2, 10**6), asked=st.integers(2, 10**6))
def test_a_plain_name_is_the_asked_count_and_no_other(count: int, asked: int) -> None:
    name = metric_name("fid", count, asked)
    assert (name == "fid") == (count == asked)
    assert name.partition("@")[0] == "fid"


def test_every_frechet_distance_of_the_spec_has_a_metric() -> None:
    named = {name for kind in get_args(MetricKind) for at in FRECHET_NAMES for name in metric_names(kind, at)}
    assert set(METRICS) == named
    assert set(FRECHET_NAMES.values()) | {"inception-score"} <= named
    assert all(METRICS[name] == "lower" for name in FRECHET_NAMES.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": 1.0, "low": 0.5},
        {"value": 1.0, "low": 0.5, "high": 1.5},
        {"value": 1.0, "low": 1.5, "high": 0.5, "interval": "bootstrap"},
        {"value": 1.0, "interval": "bootstrap"},
    ],
)
def test_an_impossible_metric_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"finite|interval"):
        Metric(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        ("fid", -1.0, False),
        ("fid", 0.0, True),
        ("sfid", -0.1, False),
        ("inception-score", 0.99, False),
        ("inception-score", 1 - 1e-15, True),
        ("precision", 1.01, False),
        ("recall", 1.0, True),
        ("kid", -0.001, True),
        ("fid-infinity", -0.5, True),
    ],
)
def test_a_value_that_no_measurement_gives_is_refused(name: str, value: float, possible: bool) -> None:
    """A kernel distance and the limit of infinitely many samples are estimates that luck takes below zero, and rounding
    takes the score of equal images a last digit below one."""
    run = jobs.find("table1/E", "paper").run
    reference = Reference(digest="", **implied.reference(run.evaluation.reference, run.data))
    protocol = Protocol(weights_digest="", resize="", reference=reference, **implied.protocol(run))
    provenance = Provenance(
        commit="", dirty=None, versions={}, device="", host="", seconds={}, gpu_hours=0.0, time=""
    )  # fmt: skip
    refused = contextlib.nullcontext() if possible else pytest.raises(ValueError, match=f"{name} lies from")
    with refused:
        make(
            run, names=("table1/E",), label="E", scale="paper", metrics={name: Metric(value=value)},
            protocol=protocol, provenance=provenance,
        )  # fmt: skip


@pytest.mark.parametrize(
    "taken",
    [
        {"seconds": {"train": math.nan}}, {"seconds": {"train": -1.0}}, {"gpu_hours": -0.1},
        {"gpu_hours": 1.0, "gpu_hours_by_stage": {"train": {"NVIDIA H100": 2.0}, "sample": {"NVIDIA H100": -1.0}}},
    ],
)  # fmt: skip
def test_time_is_finite_and_not_negative(taken: dict[str, object]) -> None:
    facts = {"commit": "", "dirty": None, "versions": {}, "device": "", "host": "", "time": ""}
    with pytest.raises(ValueError, match="time is a finite number of 0 or more"):
        Provenance(**{**facts, "seconds": {}, "gpu_hours": 0.0, **taken})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "split", "fits"),
    [
        (0.0, {}, True),
        (1.5, {}, True),  # older shapes had the sum alone
        (0.3, {"train": {"NVIDIA H100": 0.1}, "sample": {"NVIDIA A100": 0.2, "cpu (8 cores)": 0.0}}, True),
        (0.3, {"train": {"NVIDIA H100": 0.1}}, False),
        (1.5, {"train": {}}, False),
    ],
)
def test_gpu_hours_by_stage_come_to_those_of_all(total: float, split: dict[str, dict[str, float]], fits: bool) -> None:
    with (
        contextlib.nullcontext() if fits else pytest.raises(ValueError, match=r"those of all, [\d.]+, and they come to")
    ):
        Provenance(
            commit="", dirty=None, versions={}, device="", host="", seconds={}, time="",
            gpu_hours=total, gpu_hours_by_stage=split,
        )  # fmt: skip


def test_a_record_as_json_and_back() -> None:
    metric = Metric(value=1.0, low=0.5, high=1.5, interval="bootstrap over 10 resamples")
    assert msgspec.convert(msgspec.to_builtins(metric), Metric) == metric


@pytest.mark.parametrize("number", [3, numpy.float64(3.5), numpy.float32(0.1)])
def test_numbers_that_are_no_floats_read_back_whole(number: float, tmp_path: Path) -> None:
    """What a stage hands in may be an int or numpy's; the digest is over what the file says."""
    run = jobs.find("table1/E", "smoke").run
    reference = Reference(digest="", **implied.reference(run.evaluation.reference, run.data))
    protocol = Protocol(weights_digest="", resize="", reference=reference, **{**implied.protocol(run), "guidance": 1})
    provenance = Provenance(
        commit="", dirty=None, versions={}, device="", host="", seconds={"train": 2}, gpu_hours=0, time=""
    )
    record = make(
        run, names=("table1/E",), label="E", scale="smoke", metrics={"fd-efficientnet-lite0": Metric(value=number)},
        protocol=protocol, provenance=provenance, context={"floor": number},
    )  # fmt: skip
    path = store.write(record, tmp_path / record.training_id / f"{record.evaluation_id}.json")
    assert store.read(path) == record
    assert record.context["floor"] == float(number)


def test_a_run_that_reads_back_under_another_id_is_refused() -> None:
    run = jobs.find("table1/E", "smoke").run
    sloppy = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, guidance=1))
    with pytest.raises(ValueError, match="another id"):
        make(
            sloppy, names=(), label="", scale="smoke", metrics={"fid": Metric(value=1.0)}, protocol=None,  # type: ignore[arg-type]
            provenance=None,  # type: ignore[arg-type]
        )  # fmt: skip
