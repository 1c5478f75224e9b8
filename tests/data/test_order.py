"""The order of draws: permutations, epochs, splits, and the coin of the mirroring."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdit_repro.data.order import flips, index_of
from hdit_repro.seeds import derive


@settings(max_examples=50)
@given(size=st.integers(1, 200), seed=st.integers(-5, 2**40), epoch=st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    indices = index_of(np.arange(epoch * size, (epoch + 1) * size), size, seed)
    assert indices.dtype == np.int64
    assert sorted(indices.tolist()) == list(range(size))


@settings(max_examples=50)
@given(size=st.integers(1, 50), cuts=st.lists(st.integers(0, 300), max_size=6), seed=st.integers(0, 99))
def test_any_split_gives_the_same(size, cuts, seed):
    whole = index_of(range(300), size, seed)
    edges = [0, *sorted(cuts), 300]
    parts = [index_of(range(a, b), size, seed) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    shuffled = np.random.default_rng(seed).permutation(300)
    np.testing.assert_array_equal(index_of(shuffled, size, seed), whole[shuffled])


def test_epochs_and_seeds_differ():
    first = index_of(range(1000), 1000, 0)
    assert (first != index_of(range(1000, 2000), 1000, 0)).mean() > 0.9
    assert (first != index_of(range(1000), 1000, 1)).mean() > 0.9


def test_the_order_is_what_it_was():
    """A run that is resumed under another numpy must see the same images."""
    assert index_of(range(10), 10, 0).tolist() == ORDER
    twin = np.argsort(np.random.PCG64(derive(0, 3, "order")).random_raw(7), kind="stable")
    assert index_of(range(21, 28), 7, 0).tolist() == twin.tolist()


ORDER = [4, 2, 3, 8, 7, 6, 5, 9, 0, 1]


def test_places_are_uniform():
    counts = np.zeros((8, 8), int)
    for epoch in range(4000):
        order = index_of(range(epoch * 8, epoch * 8 + 8), 8, 7)
        counts[np.arange(8), order] += 1
    chi2 = ((counts - 500) ** 2 / 500).sum()  # 49 degrees of freedom
    assert 20 < chi2 < 90


def test_bad_input():
    with pytest.raises(ValueError, match="start at 0"):
        index_of([-1], 10, 0)
    with pytest.raises(ValueError, match="at least one image"):
        index_of([0], 0, 0)
    assert index_of([], 10, 0).shape == (0,)


def splitmix(key: int, number: int) -> int:
    """SplitMix64 in plain integers."""
    mask = 2**64 - 1
    z = (key + number * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_splitmix_is_the_published_one():
    assert splitmix(1234567, 1) == 6457827717110365317


def test_flips():
    draws = np.arange(20_000)
    coins = flips(draws, 3)
    assert coins.tolist()[:200] == [bool(splitmix(derive(3, 0, "flip"), k + 1) >> 63) for k in range(200)]
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)
    assert abs((coins[1:] == coins[:-1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)
    assert (coins != flips(draws, 4)).any()
    np.testing.assert_array_equal(flips(draws[5000:5010], 3), coins[5000:5010])
