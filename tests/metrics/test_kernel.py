"""Kernel distances against torch-fidelity, k-diffusion's arithmetic and the definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hdit_repro.metrics.kernel import kernel_distance, kernel_distance_chunks, squared_mmd
from hdit_repro.metrics.torchvision_shim import import_torchvision


def features(count, seed, width=6):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + 0.3 * seed


def by_definition(x, y):
    """Equation 3 of Gretton et al., a pair at a time."""

    def kernel(u, v):
        return (float(u @ v) / len(u) + 1) ** 3

    within = [
        sum(kernel(side[i], side[j]) for i, j in itertools.permutations(range(len(side)), 2))
        / (len(side) * (len(side) - 1))
        for side in (x, y)
    ]
    between = sum(kernel(u, v) for u in x for v in y) / (len(x) * len(y))
    return sum(within) - 2 * between


def test_the_definition():
    x, y = features(7, 0).double().numpy(), features(5, 1).double().numpy()
    assert squared_mmd(x, y) == pytest.approx(by_definition(x, y), rel=1e-10)


def test_torch_fidelity_agrees():
    import_torchvision()
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = features(60, 0).double(), features(50, 1).double()
    theirs = kid_features_to_metric(a, b, kid_subsets=20, kid_subset_size=30, verbose=False)
    ours = kernel_distance(a, b, subsets=20, size=30)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-8)


def test_chunks_are_k_diffusions():
    a, b = features(23, 0), features(17, 1)
    parts = [(a[0:8], b[0:6]), (a[8:15], b[6:11]), (a[15:23], b[11:17])]
    wanted = np.mean([squared_mmd(x.double().numpy(), y.double().numpy()) for x, y in parts])
    found = kernel_distance_chunks(a, b, chunk=8)
    assert (found.subsets, found.size) == (3, 5)
    assert found.mean == pytest.approx(wanted, rel=1e-12)


def test_unbiased_at_equal_distributions():
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(200):
        a, b = (torch.randn(20, 3, generator=generator).double().numpy() for _ in range(2))
        values.append(squared_mmd(a, b))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_small_sides_shrink_the_subsets():
    found = kernel_distance(features(12, 0), features(9, 1), subsets=3)
    assert (found.size, found.subsets) == (9, 3)


@pytest.mark.parametrize("bad", [features(1, 0), features(5, 0, width=4), torch.full((5, 6), torch.nan)])
def test_bad_input(bad):
    for function in (kernel_distance, kernel_distance_chunks):
        with pytest.raises(ValueError, match="features"):
            function(bad, features(5, 1))
    with pytest.raises(ValueError, match="split"):
        kernel_distance_chunks(features(40, 0), features(3, 1), chunk=10)


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        (kernel_distance, {"size": 1}),
        (kernel_distance, {"subsets": 0}),
        (kernel_distance_chunks, {"chunk": 0}),
        (kernel_distance_chunks, {"chunk": 1}),
        (kernel_distance_chunks, {"chunk": -3}),
    ],
)
def test_no_subset_and_one_of_a_single_image_have_no_distance(function, asked):
    """They were NaN, or a division by zero."""
    ((name, value),) = asked.items()
    with pytest.raises(ValueError, match=f"needed, found .*{name}={value}"):
        function(features(5, 0), features(5, 1), **asked)


def test_two_images_are_the_least_subset():
    assert kernel_distance(features(5, 0), features(5, 1), subsets=1, size=2)[2:] == (1, 2)
    assert kernel_distance_chunks(features(4, 0), features(4, 1), chunk=2)[2:] == (2, 2)


def test_the_published_subsets_are_the_default():
    few = np.random.default_rng(0).normal(size=(3, 2))
    assert kernel_distance(few, few)[2:] == (100, 3)
    many = np.random.default_rng(0).normal(size=(1_001, 2))
    assert kernel_distance(many, many, subsets=1).size == 1_000
    assert kernel_distance_chunks(np.zeros((5_001, 2)), np.zeros((5_001, 2)))[2:] == (2, 2_500)
