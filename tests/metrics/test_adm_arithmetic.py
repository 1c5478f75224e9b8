"""A small NumPy twin of the arithmetic in ADM's evaluator (guided-diffusion, evaluations/evaluator.py)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from hdit_repro.metrics import inception_score as score_module
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.inception_score import adm_inception_score
from hdit_repro.metrics.precision_recall import precision_recall
from hdit_repro.metrics.statistics import statistics_of


def twin_distance(a, b):
    """FID of pooled features and sFID of spatial ones are one formula."""
    (mu_a, cov_a), (mu_b, cov_b) = ((np.mean(x, axis=0), np.cov(x, rowvar=False)) for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a.dot(cov_b)).real
    return (mu_a - mu_b).dot(mu_a - mu_b) + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root)


def twin_score(pooled, weight, part):
    logits = pooled @ weight  # no bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    scores = []
    for start in range(0, len(p), part):
        piece = p[start : start + part]
        divergence = piece * (np.log(piece) - np.log(piece.mean(0, keepdims=True)))
        scores.append(np.exp(divergence.sum(1).mean()))
    return np.mean(scores)


def twin_manifold(reference, samples, k=3):
    def squared(u, v):
        return np.maximum((u**2).sum(1)[:, None] - 2 * u @ v.T + (v**2).sum(1)[None], 0)

    radii = [np.partition(squared(x, x), k, axis=1)[:, k] for x in (reference, samples)]
    precision = (squared(samples, reference) <= radii[0][None]).any(1).mean()
    recall = (squared(reference, samples) <= radii[1][None]).any(1).mean()
    return precision, recall


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((12, 12))
    return rng.standard_normal((90, 12)) @ mixing, rng.standard_normal((70, 12)) @ mixing * 0.9 + 0.4


def test_frechet(sides):
    a, b = (statistics_of(side) for side in sides)
    assert frechet_distance(a.mean, a.cov, b.mean, b.cov) == pytest.approx(twin_distance(*sides), rel=1e-9)


def test_inception_score(sides, monkeypatch):
    monkeypatch.setattr(score_module, "ADM_PART", 40)
    weight = np.random.default_rng(1).standard_normal((12, 9)) * 0.2
    assert adm_inception_score(sides[0] @ weight).mean == pytest.approx(twin_score(sides[0], weight, 40), rel=1e-10)


def test_precision_and_recall(sides):
    reference, samples = sides
    found = precision_recall(samples, reference)
    assert (found.precision, found.recall) == twin_manifold(reference, samples)
    assert 0 < found.recall < 1
