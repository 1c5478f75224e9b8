"""The Inception score against closed forms, a slow twin, and torch-fidelity's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hdit_repro.metrics.inception_score import (
    adm_inception_score,
    inception_score,
    sorted_by_class,
    ten_parts_inception_score,
)


def slow(logits: np.ndarray) -> float:
    """One part, by the definition, a number at a time."""
    p = [[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in logits.tolist()]
    marginal = [sum(row[k] for row in p) / len(p) for k in range(len(p[0]))]
    total = sum(v * (math.log(v) - math.log(marginal[k])) for row in p for k, v in enumerate(row))
    return math.exp(total / len(p))


def test_against_the_definition():
    logits = np.random.default_rng(0).standard_normal((30, 7)) * 2
    assert inception_score(logits, 1).mean == pytest.approx(slow(logits), rel=1e-12)
    parts = [slow(logits[i : i + 10]) for i in (0, 10, 20)]
    score = inception_score(torch.from_numpy(logits), 3)
    assert score.mean == pytest.approx(np.mean(parts), rel=1e-12)
    assert score.std == pytest.approx(np.std(parts), rel=1e-9)


def test_closed_forms():
    sure = np.full((40, 8), -1e4)
    sure[np.arange(40), np.arange(40) % 8] = 0
    assert inception_score(sure, 5).mean == pytest.approx(8, rel=1e-12)
    assert inception_score(np.zeros((40, 8)), 4) == (pytest.approx(1), pytest.approx(0), 4)
    shifted = np.random.default_rng(1).standard_normal((20, 5))
    assert inception_score(shifted + 7000, 2).mean == pytest.approx(inception_score(shifted, 2).mean, rel=1e-9)


def test_adm_takes_parts_of_5000():
    logits = np.random.default_rng(2).standard_normal((11_000, 6))
    parts = [inception_score(logits[start : start + 5000], 1).mean for start in (0, 5000, 10_000)]
    score = adm_inception_score(logits)
    assert score.mean == pytest.approx(np.mean(parts), rel=1e-12)
    assert score.std == pytest.approx(np.std(parts), rel=1e-9)
    assert adm_inception_score(logits[:10_000]).mean == pytest.approx(inception_score(logits[:10_000], 2).mean)


def test_images_sorted_by_class_are_noticed_and_others_are_not():
    """Forty classes told for certain: parts in order hold few of them, and mixed parts all."""
    label = np.repeat(np.arange(40), 300)
    logits = np.where(np.arange(40) == label[:, None], 9.0, 0.0)
    found = sorted_by_class(logits, adm_inception_score(logits))
    assert adm_inception_score(logits).mean < 20 < 37 < found.mean
    mixed = logits[np.random.default_rng(0).permutation(len(logits))]
    assert sorted_by_class(mixed, adm_inception_score(mixed)) is None
    assert sorted_by_class(logits[:5000], adm_inception_score(logits[:5000])) is None, "one part has no order"


@pytest.mark.parametrize("count", [50, 57])
@pytest.mark.parametrize("shuffle", [False, True])
def test_torch_fidelity_agrees(count, shuffle):
    """In order and after its shuffle, where ten parts are equal and where they cannot be."""
    from hdit_repro.metrics.torchvision_shim import import_torchvision

    import_torchvision()
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(count, 9, generator=torch.Generator().manual_seed(3)) * 3
    theirs = isc_features_to_metric(logits, splits=10, shuffle=shuffle, rng_seed=2020)
    ours = ten_parts_inception_score(logits) if shuffle else inception_score(logits, 10)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert ours.std == pytest.approx(theirs["inception_score_std"], rel=1e-9)


@pytest.mark.parametrize(
    ("logits", "splits"), [(np.zeros(4), 1), (np.zeros((0, 4)), 1), (np.full((2, 2), np.nan), 1), (np.zeros((3, 2)), 4)]
)
def test_bad_input(logits, splits):
    with pytest.raises(ValueError, match=r"logits|split"):
        inception_score(logits, splits)
