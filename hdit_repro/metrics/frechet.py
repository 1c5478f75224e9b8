"""The Frechet distance between two Gaussians (Dowson and Landau, 1982; Heusel et al., 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hdit_repro.metrics.statistics import Array, as_float64

ASYMMETRY = 1e-6

NEGATIVE = 1e-4
"""What an eigenvalue may lie below zero, relative to the largest: statistics that were stored in float32 do."""

LARGEST = 1e150
"""Products of covariances beyond it overflow."""
CERTAIN = 1e-8
"""Estimated relative error of a distance that the fast way must stay under, or the careful one is taken."""


def frechet_distance(mean_a: Any, cov_a: Any, mean_b: Any, cov_b: Any) -> float:
    """|mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2)), in float64.

    Two ways to the last trace. Fast: with A = L L^T (Cholesky), the sum of the roots of the eigenvalues of L^T B L.
    Each eigenvalue carries an error of eps times the largest one, which its root magnifies where it is small; these
    errors are added as independent ones, and the result kept only where they come to less than 1e-8 of the distance
    (twins in the tests find a tenth of the estimate). Careful, for all else
    (covariances of fewer images than features, equal ones): the sum of the singular values of A^(1/2) B^(1/2), which
    carry an error of eps times the largest one themselves.

    Args:
        mean_a, mean_b: D, tensors or arrays.
        cov_a, cov_b: D D, symmetric positive semi-definite; any rank.

    Raises:
        ValueError: shapes that do not go together, values that are not finite or beyond those of any features, a matrix
            that is not symmetric or has negative eigenvalues.
    """
    mean_a, mean_b, cov_a, cov_b = (as_float64(value) for value in (mean_a, mean_b, cov_a, cov_b))
    _check(mean_a, cov_a, mean_b, cov_b)
    step = mean_a - mean_b
    with np.errstate(over="ignore"):
        apart = step @ step + np.trace(cov_a) + np.trace(cov_b)
    if not apart < LARGEST:
        raise ValueError("means or covariances are too large for a distance in float64")
    quick = _fast_cross(cov_a, cov_b)
    if quick is not None:
        cross, error = quick
        if 2 * error <= CERTAIN * (apart - 2 * cross):
            return float(apart - 2 * cross)
    cross = float(np.linalg.svd(root(cov_a).T @ root(cov_b), compute_uv=False).sum())
    return max(float(apart - 2 * cross), 0.0)  # rounding can leave -1e-13 between equal ones


def frechet_of_samples(rows: Array, mean: Array, cov: Array, anchor: Array) -> float:
    """The distance of samples to a reference with covariance `cov` = anchor anchor^T, whose root is taken once.

    For fewer samples than features, the singular values of X anchor / sqrt(N - 1), X centred, are those of
    A^(1/2) B^(1/2): no covariance of the samples is made.

    Args:
        rows: N D, float64, of the samples.
        mean, cov: D and D D, of the reference.
        anchor: `root(cov)`.

    Raises:
        ValueError: fewer than two samples, or values that are not finite.
    """
    if len(rows) < 2 or not np.isfinite(rows).all():
        raise ValueError(f"two or more finite feature vectors are needed, found {len(rows)}")
    centre, scale = rows.mean(axis=0), len(rows) - 1
    centred = rows - centre
    if len(rows) > rows.shape[1]:
        return frechet_distance(centre, centred.T @ centred / scale, mean, cov)
    cross = np.linalg.svd(centred @ anchor, compute_uv=False).sum() / np.sqrt(scale)
    step = centre - mean
    return max(float(step @ step + (centred**2).sum() / scale + np.trace(cov) - 2 * cross), 0.0)


def _fast_cross(cov_a: Array, cov_b: Array) -> tuple[float, float] | None:
    """tr((A B)^(1/2)) by Cholesky, and an estimate of its error; None where a covariance is singular."""
    try:
        lower = np.linalg.cholesky((cov_a + cov_a.T) / 2)
        np.linalg.cholesky((cov_b + cov_b.T) / 2)
    except np.linalg.LinAlgError:
        return None
    values = np.linalg.eigvalsh(lower.T @ cov_b @ lower)
    noise = max(float(values.max()), 0.0) * np.finfo(np.float64).eps
    if noise == 0:
        return None
    roots = np.sqrt(np.maximum(values, 0))
    return float(roots.sum()), float(np.linalg.norm(noise / (2 * np.maximum(roots, np.sqrt(noise)))))


def root(cov: Array) -> Array:
    """R with R R^T = cov, one column an eigenvalue; those that are zero but for rounding have no column: D r.

    Raises:
        ValueError: an eigenvalue is negative beyond rounding.
    """
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    if values.min() < -NEGATIVE * np.abs(values).max():
        raise ValueError(f"a covariance has a negative eigenvalue: {values.min():.3g}, the largest {values.max():.3g}")
    kept = values > max(values.max(), 0) * len(values) * np.finfo(np.float64).eps
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _check(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> None:
    width = mean_a.size
    if mean_a.shape != (width,) or mean_b.shape != (width,) or not width:
        raise ValueError(f"two means of one length are needed, found {mean_a.shape} and {mean_b.shape}")
    for cov in (cov_a, cov_b):
        if cov.shape != (width, width):
            raise ValueError(f"a covariance of {width} features is {width} x {width}, found {cov.shape}")
        if not np.isfinite(cov).all():
            raise ValueError("a covariance holds NaN or infinity")
        if np.abs(cov - cov.T).max() > ASYMMETRY * max(np.abs(cov).max(), np.finfo(np.float64).tiny):
            raise ValueError("a covariance is not symmetric")
    if not (np.isfinite(mean_a).all() and np.isfinite(mean_b).all()):
        raise ValueError("a mean holds NaN or infinity")
