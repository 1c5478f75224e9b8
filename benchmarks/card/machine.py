"""What the card can do at best: matrix products, copies; and the generator of random numbers by key."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.card.session import Bench, Part
from benchmarks.card.timing import timed
from hdit_repro.diffusion import as_keys, normals
from hdit_repro.models.arithmetic import products


def matrix(dtype: torch.dtype) -> Part:
    """Floating-point operations a second of a large square product."""

    def work(bench: Bench) -> dict[str, Any]:
        side = 256 if bench.tiny else 8192
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        with products("float32", bench.device):  # NVIDIA's containers turn TF32 on
            found = timed(lambda: a @ b, bench.device, bench.seconds)
        return {"side": side, "seconds": found.seconds, "flops_per_s": 2 * side**3 / found.seconds}

    return Part(f"matrix/{str(dtype).removeprefix('torch.')}", work)


def copy(bench: Bench) -> dict[str, Any]:
    """Bytes a second of a large copy, read and written."""
    size = (1 << 20) if bench.tiny else (2 << 30)
    source = torch.zeros(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    found = timed(lambda: target.copy_(source), bench.device, bench.seconds)
    return {"bytes": size, "seconds": found.seconds, "bytes_per_s": 2 * size / found.seconds}


def noise(bench: Bench) -> dict[str, Any]:
    """Normal numbers a second by key and place, for a batch of images; beside torch's own generator."""
    batch, side = (4, 16) if bench.tiny else (64, 256)
    keys = as_keys(range(batch)).to(bench.device)
    ours = timed(lambda: normals(keys, 0, (3, side, side), torch.float32, bench.device), bench.device, bench.seconds)
    plain = timed(lambda: torch.randn(batch, 3, side, side, device=bench.device), bench.device, bench.seconds)
    count = batch * 3 * side * side
    return {
        "batch": batch, "side": side, "seconds": ours.seconds, "numbers_per_s": count / ours.seconds,
        "torch_numbers_per_s": count / plain.seconds,
    }  # fmt: skip


PARTS = (
    matrix(torch.bfloat16),
    matrix(torch.float32),
    Part("copy", copy),
    Part("noise", noise),
)
