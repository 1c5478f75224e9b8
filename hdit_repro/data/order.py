"""Which image, and which way round, a draw is: functions of the seed and the draw's number alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hdit_repro.seeds import derive

KEPT_PERMUTATIONS = 4


def index_of(draws: Sequence[int] | NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """The image number of each draw: epoch k // size has its own permutation, and k % size is the place in it.

    Args:
        draws: numbers of draws, from 0, any order, any shape.
        size: number of images in the data set.
        seed: of the run.

    Returns:
        int64, the shape of `draws`, in 0 ... size - 1. Every epoch holds every image once.

    Raises:
        ValueError: a negative draw, or an empty data set.
    """
    numbers = np.asarray(draws, dtype=np.int64)
    if size < 1 or (numbers.size and int(numbers.min()) < 0):
        raise ValueError(f"draws start at 0 and a data set has at least one image; found size {size}")
    epochs, places = np.divmod(numbers, size)
    indices = np.empty_like(numbers)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = permutation(seed, int(epoch), size)[places[here]]
    return indices


@lru_cache(maxsize=KEPT_PERMUTATIONS)
def permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """The order of an epoch: the ranks of `size` raw outputs of PCG64, keyed by (seed, epoch).

    numpy promises that the raw outputs of a bit generator stay what they are, and promises no such thing for
    `Generator.permutation`.
    """
    outputs = np.random.PCG64(derive(seed, epoch, "order")).random_raw(size)
    order = np.argsort(outputs, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def flips(draws: Sequence[int] | NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Whether each draw is mirrored, left and right exchanged: a fair coin a draw.

    The coin is the top bit of SplitMix64's output number k + 1 for the run's key: state key + (k + 1) * golden, then
    the finaliser (Steele, Lea and Flood, 2014; constants of Stafford's variant 13).
    """
    with np.errstate(over="ignore"):
        state = np.asarray(draws, dtype=np.int64).astype(np.uint64) + np.uint64(1)
        state = np.uint64(derive(seed, 0, "flip")) + state * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(63)).astype(bool)
