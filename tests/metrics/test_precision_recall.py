"""Precision and recall against torch-fidelity and the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdit_repro.metrics import precision_recall as module
from hdit_repro.metrics.precision_recall import precision_recall
from hdit_repro.metrics.torchvision_shim import import_torchvision


def sides(seed=0, count=(60, 45), width=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count[0], width)) * 0.8, rng.standard_normal((count[1], width)) + 0.3


def by_definition(points, manifold, k):
    """Share of the points within a ball of the manifold, a pair at a time."""
    radii = [sorted(float(np.linalg.norm(p - q)) for q in manifold)[k] for p in manifold]
    inside = [any(np.linalg.norm(p - c) <= r for c, r in zip(manifold, radii, strict=True)) for p in points]
    return np.mean(inside)


@pytest.mark.parametrize("k", [1, 3])
def test_the_definition(k):
    a, b = sides()
    found = precision_recall(a, b, k)
    assert found == (by_definition(a, b, k), by_definition(b, a, k), 60, 45)
    assert 0 < found.precision < 1
    assert 0 < found.recall < 1


def test_torch_fidelity_agrees():
    import_torchvision()
    from torch_fidelity.metric_prc import prc_features_to_metric

    a, b = (torch.from_numpy(side) for side in sides(3, (200, 150)))
    theirs = prc_features_to_metric(a, b, save_cpu_ram=False, verbose=False)
    found = precision_recall(a, b)
    assert (found.precision, found.recall) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


def test_blocks_and_order_cannot_move_it(monkeypatch):
    a, b = sides(4)
    whole = precision_recall(a, b)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert precision_recall(a, b) == whole
    assert precision_recall(a[::-1], np.roll(b, 11, axis=0)) == whole


@pytest.mark.parametrize("block", [7, 2_000])
def test_equal_vectors_are_at_no_distance(monkeypatch, block):
    """Four equal ones have balls of no radius, and an equal vector of the other side lies in them, in whatever order
    products of either size are summed."""
    monkeypatch.setattr(module, "BLOCK", block)
    for seed in range(20):
        samples, real = sides(seed, (8, 50), width=64)
        samples[-1] += 9  # in no other ball
        real[:4] = samples[-1]
        assert precision_recall(samples, real)[:2] == (by_definition(samples, real, 3), by_definition(real, samples, 3))


def test_extremes():
    a, b = sides()
    assert precision_recall(a, a)[:2] == (1, 1)
    assert precision_recall(a, b + 1000)[:2] == (0, 0)
    wide, narrow = b * 100, b[:10] * 0.01
    assert precision_recall(narrow, wide).precision == 1
    assert precision_recall(narrow, wide).recall < 0.5


@pytest.mark.parametrize(
    ("a", "b", "k"),
    [(np.zeros((3, 2)), np.zeros((9, 2)), 3), (np.zeros((9, 2)), np.zeros((9, 3)), 3), (np.zeros((9, 2)),) * 2 + (0,)],
)
def test_bad_input(a, b, k):
    with pytest.raises(ValueError, match=r"neighbours|width"):
        precision_recall(a, b, k)
    with pytest.raises(ValueError, match="finite"):
        precision_recall(np.full((9, 2), np.inf), np.zeros((9, 2)))


def test_a_vector_at_the_very_radius_is_inside():
    real, samples = np.array([[0.0], [1], [10], [11]]), np.array([[2.0], [12], [50]])
    assert precision_recall(samples, real, neighbours=1).precision == pytest.approx(2 / 3)
