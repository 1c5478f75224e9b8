"""The one place where images become integers, so that streamed and exported metrics are equal."""

from __future__ import annotations

import torch
from torch import Tensor


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as they would be exported: clamp, (x + 1) * 127.5, round to nearest (halves to even).

    The released code and the third author's fork cut off where this rounds, which darkens their samples a little.

    Args:
        x: floating point, any shape. Values outside [-1, 1] are clamped. Half precisions are computed in float32.

    Returns:
        uint8, the shape of `x`.

    Raises:
        ValueError: `x` is not floating point, or holds a NaN, which no grey value stands for.
    """
    if not x.is_floating_point():
        raise ValueError(f"images in [-1, 1] are floating point, found {x.dtype}")
    if x.isnan().any():
        raise ValueError("images hold NaN")
    wide = x if x.dtype == torch.float64 else x.float()
    return wide.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
