"""Random Inception weights, made once: the trained ones are not at hand where tests run."""

from __future__ import annotations

import pytest
import torch

from hdit_repro.metrics.extractors.random_inception import random_state


@pytest.fixture(scope="session")
def inception_state():
    return random_state()


@pytest.fixture(scope="session")
def two_sets():
    """Two sets of 14 smooth pictures, uint8 3 40 48."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(2, 14, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(small.flatten(0, 1), (40, 48), mode="bilinear")
    scale = torch.tensor([255.0, 180.0]).reshape(2, 1, 1, 1, 1)
    return (smooth.reshape(2, 14, 3, 40, 48) * scale).to(torch.uint8)
