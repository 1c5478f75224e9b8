"""Streaming statistics are the whole's, in any order and any parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from hdit_repro.errors import RunError
from hdit_repro.metrics.statistics import Statistics


def gathered(parts) -> Statistics:
    statistics = Statistics(parts[0].shape[1])
    for part in parts:
        statistics.update(part)
    return statistics


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(0, 200), max_size=8), seed=st.integers(0, 9), far=st.sampled_from([0.0, 1e3, -1e6]))
def test_streaming_is_the_whole(cuts, seed, far):
    rows = np.random.default_rng(seed).standard_normal((200, 7)) * np.arange(1, 8) + far
    statistics = gathered(np.split(rows, sorted(cuts)))
    assert statistics.count == 200
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(statistics.cov, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-9)


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6), order=st.randoms(use_true_random=False))
def test_merging_in_any_order(sizes, order):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((size, 5)) * 3 + 10 for size in [*sizes, 4]]
    rows = np.concatenate(parts)
    shards = [gathered([part]) for part in parts]
    order.shuffle(shards)
    merged = Statistics(5)
    for shard in shards:
        before = shard.count
        merged.merge(shard)
        assert shard.count == before
    np.testing.assert_allclose(merged.mean, rows.mean(0), rtol=1e-10)
    np.testing.assert_allclose(merged.cov, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-11)


def test_merging_into_nothing_is_a_copy():
    one = gathered([np.random.default_rng(0).standard_normal((9, 3))])
    merged = Statistics(3)
    merged.merge(one)
    np.testing.assert_array_equal(merged.mean, one.mean)
    np.testing.assert_array_equal(merged.cov, one.cov)
    merged.update(np.ones((1, 3)))
    assert one.count == 9


def test_float32_features_are_summed_in_float64():
    rows = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)) + 1000
    statistics = gathered(list(rows.split(7)))
    np.testing.assert_allclose(statistics.cov, np.cov(rows.double().numpy(), rowvar=False), rtol=1e-10, atol=1e-10)
    assert (statistics.cov == statistics.cov.T).all()


def test_through_safetensors_to_the_bit():
    one, other = (gathered([np.random.default_rng(i).standard_normal((20 + i, 6))]) for i in range(2))
    arrays = load(save({**one.to_arrays("a."), **other.to_arrays("b.")}))
    for wanted, prefix in ((one, "a."), (other, "b.")):
        found = Statistics.from_arrays(arrays, prefix)
        assert found.count == wanted.count
        np.testing.assert_array_equal(found.mean, wanted.mean)
        np.testing.assert_array_equal(found.cov, wanted.cov)
    with pytest.raises(KeyError):
        Statistics.from_arrays(arrays)
    for spoilt in (np.zeros((6, 5)), np.full((6, 6), np.nan), np.full((6, 6), np.inf)):
        with pytest.raises(ValueError, match="no statistics"):
            Statistics.from_arrays({**arrays, "a.scatter": spoilt}, "a.")


def test_bad_input():
    statistics = Statistics(3)
    for shape in ((3,), (2, 4), (2, 3, 1)):
        with pytest.raises(ValueError, match="N x 3"):
            statistics.update(np.zeros(shape))
    for value in (np.nan, np.inf):
        with pytest.raises(RunError, match="not finite"):
            statistics.update(np.array([[0, 0, 0], [0, value, 0]]))
    assert statistics.count == 0
    with pytest.raises(ValueError, match="no mean"):
        _ = statistics.mean
    statistics.update(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="two feature vectors"):
        _ = statistics.cov
    with pytest.raises(ValueError, match="width 4"):
        statistics.merge(Statistics(4))
