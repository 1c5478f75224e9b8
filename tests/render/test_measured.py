"""Which records make a row's number."""

from __future__ import annotations

import math

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.audit.summary import sampling_sd, summarise
from hdit_repro.records import store
from hdit_repro.records.schema import Metric, Record


def test_seeds_share_a_row_and_nothing_else_does() -> None:
    run = jobs.find("table1/E", "smoke").run
    other_sampling = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, seed=9))
    fewer = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, count=48))
    key = run.row_id
    assert jobs.find("table1/E", "smoke", seed=3).run.row_id == key
    assert other_sampling.row_id == key
    assert fewer.row_id != key
    assert jobs.find("table1/D", "smoke").run.row_id != key
    assert jobs.find("table1/E", "mini").run.row_id != key


def test_samplings_of_one_training_count_once(measure) -> None:
    one, two = (store.read(measure("table1/E", "smoke", value, seed=seed)) for seed, value in ((0, 10.0), (1, 40.0)))
    twin = msgspec.structs.replace(one, metrics={"fd-efficientnet-lite0": Metric(value=30.0)})
    found = summarise([one, twin, two], "fd-efficientnet-lite0")
    assert found is not None
    assert found.mean == 30.0
    assert found.seeds == 2
    assert found.sd == pytest.approx(14.1421356)


def test_an_interval_is_kept_for_a_single_record(measure) -> None:
    one = store.read(measure("table1/E", "smoke", 10.0))
    metric = Metric(value=10.0, low=9.0, high=11.0, interval="bootstrap")
    one = msgspec.structs.replace(one, metrics={"fd-efficientnet-lite0": metric})
    found = summarise([one], "fd-efficientnet-lite0")
    assert found is not None
    assert found.interval == metric
    both = summarise([one, one], "fd-efficientnet-lite0")
    assert both is not None
    assert both.interval is None
    assert summarise([one], "fid") is None


def test_two_kinds_of_luck_are_kept_apart(measure) -> None:
    """Trainings of 10 and 20, sampled twice each, 1 apart: sqrt(50) between trainings, sqrt(1/2) between samplings."""
    name = "fd-efficientnet-lite0"
    one = store.read(measure("table1/E", "smoke", 10.0))

    def sampled(seed: int, sampling: int) -> Record:
        metric = Metric(value=10.0 * (seed + 1) + sampling)
        return msgspec.structs.replace(one, seed=seed, sampling_seed=sampling, metrics={name: metric})

    records = [sampled(seed, sampling) for seed in range(2) for sampling in range(2)]
    found = summarise(records, name)
    assert found is not None
    assert (found.mean, found.seeds, len(found.records)) == (15.5, 2, 4)
    assert found.sd == pytest.approx(math.sqrt(50))
    assert sampling_sd(found) == pytest.approx(math.sqrt(0.5))
    single = summarise(records[::2], name)
    assert single is not None
    assert sampling_sd(single) is None
