"""How a Frechet distance falls with the number of samples, and where it would end (Chong and Forsyth, 2020)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hdit_repro.metrics.frechet import frechet_of_samples, root
from hdit_repro.metrics.statistics import Array, as_float64

POINTS = 15
FEWEST = 5_000
SEED = 0


class Curve(NamedTuple):
    """Distances at counts, ascending, and the value of the straight line in 1 / count at infinitely many samples."""

    counts: tuple[int, ...]
    values: tuple[float, ...]
    infinity: float
    residual: float
    """Root of the mean squared deviation of the points from the line."""


def frechet_curve(features: Any, mean: Array, cov: Array, points: int = POINTS) -> Curve:
    """The Frechet distance of `points` evenly spaced numbers of samples, and its extrapolation.

    The counts run from 5,000, or a tenth of the samples where that is less, to all; each subset is drawn without
    replacement by NumPy's default generator, seeded by its place. Source: dgm-eval's fd.py, which does not seed.

    Args:
        features: N D, of the samples.
        mean, cov: of the reference.

    Raises:
        ValueError: fewer than 20 samples, so that no line can be laid; values that are not finite, or a covariance that
            has a negative eigenvalue.
    """
    rows = as_float64(features)
    if len(rows) < 20:
        raise ValueError(f"a curve needs 20 samples or more, found {len(rows)}")
    first = min(FEWEST, max(len(rows) // 10, 2))
    counts = np.unique(np.linspace(first, len(rows), points).astype(np.int64))
    anchor = root(cov)
    values = []
    for place, count in enumerate(counts):
        chosen = np.random.default_rng((SEED, place)).choice(len(rows), int(count), replace=False)
        values.append(frechet_of_samples(rows[np.sort(chosen)], mean, cov, anchor))
    slope, infinity = np.polyfit(1 / counts, values, 1)
    residual = float(np.sqrt(np.mean((np.asarray(values) - infinity - slope / counts) ** 2)))
    return Curve(tuple(int(count) for count in counts), tuple(values), float(infinity), residual)
