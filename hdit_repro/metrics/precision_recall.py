"""Improved precision and recall (Kynkaanniemi et al., 2019) with ADM's conventions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hdit_repro.metrics.statistics import Array, as_float64

NEIGHBOURS = 3
BLOCK = 2_000
"""Rows of a block of distances."""


class PrecisionRecall(NamedTuple):
    """Fractions in 0 ... 1, and of how many images: `samples` for precision, `real` for recall."""

    precision: float
    recall: float
    samples: int
    real: int


def precision_recall(samples: Any, real: Any, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Precision: the part of the samples within the real manifold. Recall: the part of the real ones within theirs.

    The manifold of a set is the union of balls, one around each vector, as wide as the distance to its k-th neighbour
    other than itself; a distance equal to the radius is inside. Source: guided-diffusion, evaluations/evaluator.py
    (k = 3, squared distances |u|^2 - 2 u.v + |v|^2 not below 0). Its half-precision products are not followed: they
    move the third digit and depend on the card. Here they are in float64, and 0 between vectors that are equal but for
    rounding, by which an equal one could fall outside a ball of no radius.

    Args:
        samples: N D, generated.
        real: M D.

    Raises:
        ValueError: shapes that do not go together, too few images, or values that are not finite.
    """
    a, b = as_float64(samples), as_float64(real)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features of one width are needed, found {a.shape} and {b.shape}")
    if neighbours < 1 or min(len(a), len(b)) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} images, found {len(a)} and {len(b)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite")
    precision = _inside(a, b, _radii(b, neighbours))
    recall = _inside(b, a, _radii(a, neighbours))
    return PrecisionRecall(float(precision.mean()), float(recall.mean()), len(a), len(b))


def _distances(rows: Array, columns: Array) -> Iterator[Array]:
    """Squared distances of blocks of `rows` to all `columns`; 0 where rounding could have made all of one."""
    norms = (columns**2).sum(axis=1)
    rounding = (rows.shape[1] + 2) * np.finfo(np.float64).eps
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        own = (block**2).sum(axis=1)[:, None]
        apart = own - 2 * (block @ columns.T) + norms
        apart[apart <= rounding * (own + norms)] = 0
        yield apart


def _radii(points: Array, neighbours: int) -> Array:
    """Squared distance of each point to its k-th neighbour; the point itself is the nearest."""
    return np.concatenate(
        [np.partition(block, neighbours, axis=1)[:, neighbours] for block in _distances(points, points)]
    )


def _inside(points: Array, centres: Array, radii: Array) -> Array:
    """Whether each point lies in some ball."""
    return np.concatenate([(block <= radii).any(axis=1) for block in _distances(points, centres)])
