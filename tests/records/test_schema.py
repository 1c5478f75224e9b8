"""What a record may say."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.records.schema import METRICS, Metric, asked_samples, metric_name
from hdit_repro.spec.evaluation import FRECHET_NAMES


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
    assert set(FRECHET_NAMES.values()) | {"inception-score"} == set(METRICS)
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


def test_a_record_as_json_and_back() -> None:
    metric = Metric(value=1.0, low=0.5, high=1.5, interval="bootstrap over 10 resamples")
    assert msgspec.convert(msgspec.to_builtins(metric), Metric) == metric
