"""Mean and covariance of features, gathered a batch at a time and merged without loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdit_repro.errors import RunError, counted

Array = NDArray[np.float64]


class Statistics:
    """Count, mean and scatter of feature vectors in float64.

    Merging is exact but for rounding (Chan, Golub and LeVeque, 1979): with d the difference of the means,
    S = S_a + S_b + d d^T n_a n_b / (n_a + n_b).

    Args:
        width: length of a feature vector.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self._mean: Array = np.zeros(width)
        self._scatter: Array = np.zeros((width, width))

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return len(self._mean)

    def update(self, features: Any) -> None:
        """Take in a batch.

        Args:
            features: N `width`, a tensor or an array of any float type; N may be 0.

        Raises:
            ValueError: another shape.
            RunError: a value is NaN or infinite.
        """
        rows = as_float64(features)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"features are N x {self.width}, found {rows.shape}")
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows)).any(axis=1).sum())
            raise RunError(
                "features are not finite",
                found=f"{bad} of {counted(len(rows), 'vector')} with NaN or infinity",
                expected="finite numbers",
                fix="look at the samples: a network in bfloat16 or float16 may have left images of NaN",
            )
        if len(rows):
            mean = rows.mean(axis=0)
            self._add(len(rows), mean, rows - mean)

    def merge(self, other: Statistics) -> None:
        """Take in what another one gathered. `other` is left as it is.

        Raises:
            ValueError: the widths differ.
        """
        if other.width != self.width:
            raise ValueError(f"statistics of width {other.width} cannot be merged into width {self.width}")
        if other.count:
            self._add(other.count, other._mean, np.empty((0, self.width)))
            self._scatter += other._scatter

    def _add(self, count: int, mean: Array, centred: Array) -> None:
        """Move to the common mean and add the scatter of the `centred` rows; d is one more row, in one product."""
        total = self.count + count
        step = mean - self._mean
        rows = np.vstack([centred, step * math.sqrt(self.count * count / total)])
        self._scatter += rows.T @ rows
        self._mean = self._mean + step * (count / total)
        self.count = total

    @property
    def mean(self) -> Array:
        """Mean of all vectors: float64 `width`.

        Raises:
            ValueError: there was none.
        """
        if self.count < 1:
            raise ValueError("there is no mean of no features")
        return self._mean.copy()

    @property
    def cov(self) -> Array:
        """Unbiased covariance (divided by n - 1, like numpy.cov): float64 `width` `width`.

        Raises:
            ValueError: there were fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two feature vectors or more, found {self.count}")
        return (self._scatter + self._scatter.T) / (2 * (self.count - 1))

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """What to store, for safetensors: `count`, `mean`, `scatter`, with `prefix` before each name."""
        count = np.array([self.count], np.int64)
        return {f"{prefix}count": count, f"{prefix}mean": self._mean.copy(), f"{prefix}scatter": self._scatter.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], prefix: str = "") -> Statistics:
        """The inverse of `to_arrays`; bit for bit.

        Raises:
            KeyError: an array is missing.
            ValueError: the shapes or types do not go together, or a value is NaN or infinite.
        """
        count, mean, scatter = (arrays[prefix + name] for name in ("count", "mean", "scatter"))
        floats = mean.dtype == np.float64 and scatter.dtype == np.float64
        if not floats or scatter.shape != (len(mean), len(mean)) or count.shape != (1,) or int(count[0]) < 0:
            raise ValueError(f"no statistics: mean {mean.shape} {mean.dtype}, scatter {scatter.shape} {scatter.dtype}")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("no statistics: NaN or infinity in them")
        statistics = cls(len(mean))
        statistics.count, statistics._mean, statistics._scatter = int(count[0]), mean.copy(), scatter.copy()
        return statistics


BLOCK = 4_096
"""Rows of `statistics_of` at a time: what bounds its memory, and fixed, so that no batch size can move a bit."""


def statistics_of(features: Any) -> Statistics:
    """Statistics of all feature vectors at once.

    Args:
        features: N D, a tensor or an array.

    Raises:
        ValueError: another shape.
        RunError: a value is NaN or infinite.
    """
    if features.ndim != 2:
        raise ValueError(f"features are N x D, found {tuple(features.shape)}")
    statistics = Statistics(features.shape[1])
    for first in range(0, len(features), BLOCK):
        statistics.update(features[first : first + BLOCK])
    return statistics


def as_float64(value: Any) -> Array:
    """A tensor (of any device, with or without gradient), an array or a list as a float64 array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)
