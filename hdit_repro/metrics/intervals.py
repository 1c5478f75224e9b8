"""How far a metric may be off for want of images. Each interval says in words how it was made."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdit_repro.metrics.frechet import root
from hdit_repro.metrics.statistics import Array, as_float64
from hdit_repro.seeds import derive

GROUPS = 20
NORMAL = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

STUDENT = 2.093024054408263
"""The 97.5 % quantile of Student's t with GROUPS - 1 degrees of freedom."""


class Interval(NamedTuple):
    """From `low` to `high`, and how it was made."""

    low: float
    high: float
    how: str


def frechet_interval(features: Any, value: float, mean: Array, cov: Array) -> Interval | None:
    """A 95 % interval of a Frechet distance over its samples, by the delete-a-group jackknife; None for few images,
    and for images that are all equal, whose scatter of 0 would pass for certainty.

    Groups are those of `groups`. With d_g the distance without group g, the standard error is
    sqrt((G - 1) / G sum (d_g - mean d)^2), and the interval value +- t se. It says how other samples of the same
    number would scatter; the bias of the number itself (`fid --curve`) is the same for all of them and not in it. A
    bootstrap would be wrong here: images drawn twice lower the rank and raise the distance. Where features have heavy
    tails it is too narrow, and holds the truth less often than in 95 % of all cases.

    Args:
        features: N D, of the samples, in the order of their numbers.
        value: their distance.
        mean, cov: of the reference, D and D D; taken as exact.

    Raises:
        ValueError: the covariance has a negative eigenvalue.
    """
    rows = as_float64(features)
    if len(rows) < 2 * GROUPS or (rows == rows[0]).all():
        return None
    anchor = root(np.asarray(cov))
    group = groups(len(rows))
    apart = [_distance(rows[group != left_out], mean, anchor) for left_out in range(GROUPS)]
    error = math.sqrt((GROUPS - 1) * float(np.var(apart)))
    how = f"95 %, jackknife over {GROUPS} groups of samples, reference held fixed"
    return Interval(max(value - STUDENT * error, 0.0), value + STUDENT * error, how)


def groups(count: int) -> NDArray[np.int64]:
    """The group of each of `count` images: every twenty in a row are dealt to all groups, from a group drawn by lot.

    Image i to group i modulo 20 would put whole classes into one group where classes are dealt in turn and 20 divides
    their number, and the interval would tell of classes left out.
    """
    numbers = np.arange(count)
    first = np.array([derive(0, block, "jackknife") % GROUPS for block in range(-(-count // GROUPS))], dtype=np.int64)
    return np.asarray((numbers + first[numbers // GROUPS]) % GROUPS)


def _distance(rows: Array, mean: Array, anchor: Array) -> float:
    """The Frechet distance of samples to a reference whose covariance is anchor anchor^T.

    tr (A B)^(1/2) is the sum of the roots of the eigenvalues of Y^T Y, and of Y Y^T, for Y = X anchor / sqrt(N - 1);
    the smaller of the two is taken. Small eigenvalues are off by sqrt(eps), which differences of like distances share.
    """
    centre, scale = rows.mean(axis=0), len(rows) - 1
    centred = rows - centre
    if len(rows) < anchor.shape[1]:
        factor = centred @ anchor
        product = factor @ factor.T / scale
    else:
        product = anchor.T @ (centred.T @ centred / scale) @ anchor
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0)).sum()
    step = centre - mean
    return float(step @ step + (centred**2).sum() / scale + (anchor**2).sum() - 2 * cross)


def fraction_interval(fraction: float, count: int, what: str) -> Interval:
    """Wilson's 95 % interval of a fraction of `count` images; `what` says what is held fixed."""
    square = NORMAL**2 / count
    middle = (fraction + square / 2) / (1 + square)
    reach = NORMAL / (1 + square) * math.sqrt(fraction * (1 - fraction) / count + square / (4 * count))
    low = max(middle - reach, 0.0) if fraction > 0 else 0.0  # rounding would leave 3e-18
    high = min(middle + reach, 1.0) if fraction < 1 else 1.0
    return Interval(low, high, f"95 %, Wilson, {what}")
