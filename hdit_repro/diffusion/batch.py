"""Values that come once a sample, beside images."""

from __future__ import annotations

from torch import Tensor


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B) -> (B 1 1 1), in the dtype and on the device of `like` (B C H W; any number of axes after B).

    Values are computed in their own dtype and rounded once, here.
    """
    return values.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))
