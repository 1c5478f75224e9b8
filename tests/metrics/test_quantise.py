"""Quantisation is the export's, value for value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdit_repro.metrics.quantise import to_uint8


def test_every_grey_value_survives():
    grey = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_uint8(grey.to(dtype) / 127.5 - 1), grey)


def test_clamped_and_rounded():
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 1.001, float("inf"), -float("inf")])
    assert to_uint8(x).tolist() == [0, 0, 128, 255, 255, 255, 0]  # 127.5 goes to the even 128
    random = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.2 - 1.1
    twin = np.rint((np.clip(random.numpy(), -1, 1) + 1) * 127.5).astype(np.uint8)
    np.testing.assert_array_equal(to_uint8(random).numpy(), twin)


def test_half_precision_is_computed_in_float32():
    x = torch.linspace(-1, 1, 400, dtype=torch.bfloat16)
    assert torch.equal(to_uint8(x), to_uint8(x.float()))


def test_refused():
    with pytest.raises(ValueError, match="floating point"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))
