"""The arithmetic of a network: what products are taken in, for as long as a block lasts, and what is wide enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hdit_repro.spec.training import Precision


@contextmanager
def products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let float32 products on a GPU run in TF32 within the block, or forbid it, whatever was set before.

    It is for forward and backward passes alike, and for convolutions, which torch takes in TF32 where nothing is said.
    Weights, activations and sums stay float32; TF32 rounds the factors of a product to 10 bits. A CPU has no TF32, and
    nothing changes there.
    """
    if device.type != "cuda":
        yield
        return
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The forward pass in bfloat16 where `precision` says so; float32 master weights stay what they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def computes_bfloat16() -> bool:
    """Whether this machine's processor multiplies in bfloat16: one that does not takes longer than in float32. It is
    taken to where torch does not know its instructions."""
    able: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # newer than the oldest torch that the suite runs with
    return any(able.get(name, True) for name in ("avx512_bf16", "amx_bf16"))


def wide(*dtypes: torch.dtype) -> torch.dtype:
    """The widest of the dtypes and float32."""
    out = torch.float32
    for dtype in dtypes:
        out = torch.promote_types(out, dtype)
    return out
