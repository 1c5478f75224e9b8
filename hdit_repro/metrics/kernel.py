"""Kernel distances (KID; Binkowski et al., 2018), by the two ways of taking subsets that are in use."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from hdit_repro.metrics.statistics import Array, as_float64

SUBSETS, SUBSET_SIZE = 100, 1_000
"""torch-fidelity's, clean-fid's and dgm-eval's."""

SUBSET_SEED = 2020
"""torch-fidelity's, whose draws these are; clean-fid and dgm-eval do not fix theirs."""

CHUNK = 5_000
"""k-diffusion's."""


class KernelDistance(NamedTuple):
    """The mean over subsets, their standard deviation (population), how many there were and of how many images.

    Where subsets differ, `size` is that of the smallest side of any.
    """

    mean: float
    std: float
    subsets: int
    size: int


def kernel_distance(
    features_a: Any, features_b: Any, subsets: int = SUBSETS, size: int = SUBSET_SIZE
) -> KernelDistance:
    """Unbiased squared MMD with k(x, y) = (x . y / D + 1)^3, mean over random subsets of `size` from each side.

    Each subset is drawn without replacement, side a first, by NumPy's RandomState(2020), as torch-fidelity draws. Where
    a side has fewer than `size` images, all subsets are as large as that side, as in clean-fid and dgm-eval.

    Args:
        features_a, features_b: N D and M D.

    Raises:
        ValueError: shapes that do not go together, values that are not finite, fewer than two images, no subsets, or
            subsets of fewer than two.
    """
    if subsets < 1 or size < 2:
        raise ValueError(f"one subset or more of two images or more is needed, found {subsets=} and {size=}")
    a, b = _checked(features_a, features_b)
    size = min(size, len(a), len(b))
    random = np.random.RandomState(SUBSET_SEED)  # torch-fidelity's generator: another one draws other subsets
    values = []
    for _ in range(subsets):
        x = a[random.choice(len(a), size, replace=False)]
        y = b[random.choice(len(b), size, replace=False)]
        values.append(squared_mmd(x, y))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def kernel_distance_chunks(features_a: Any, features_b: Any, chunk: int = CHUNK) -> KernelDistance:
    """The same over consecutive parts of at most `chunk` images a side, equally many of each: k-diffusion's way.

    Source: k-diffusion, evaluation.py. Parts end at round(i * N / parts), halves to even.

    Raises:
        ValueError: as for `kernel_distance`, or a part with fewer than two images.
    """
    if chunk < 2:
        raise ValueError(f"a chunk of two images or more is needed, found {chunk=}")
    a, b = _checked(features_a, features_b)
    parts = math.ceil(max(len(a), len(b)) / chunk)
    values, smallest = [], chunk
    for part in range(parts):
        x, y = (side[round(part * len(side) / parts) : round((part + 1) * len(side) / parts)] for side in (a, b))
        smallest = min(smallest, len(x), len(y))
        if smallest < 2:
            raise ValueError(f"{len(a)} and {len(b)} images cannot be split into {parts} parts of two or more")
        values.append(squared_mmd(x, y))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), parts, smallest)


def squared_mmd(x: Array, y: Array) -> float:
    """The unbiased estimator (Gretton et al., 2012, Equation 3) for sides of any size of two or more."""
    m, n = len(x), len(y)
    within_x, within_y, between = _cubic(x, x), _cubic(y, y), _cubic(x, y)
    first = (within_x.sum() - np.trace(within_x)) / (m * (m - 1))
    second = (within_y.sum() - np.trace(within_y)) / (n * (n - 1))
    return float(first + second - 2 * between.sum() / (m * n))


def _cubic(x: Array, y: Array) -> Array:
    base = x @ y.T / x.shape[1] + 1
    return np.asarray(base * base * base)


def _checked(features_a: Any, features_b: Any) -> tuple[Array, Array]:
    a, b = as_float64(features_a), as_float64(features_b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features of one width and two images or more are needed, found {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite")
    return a, b
