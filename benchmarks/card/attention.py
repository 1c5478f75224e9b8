"""Each backend of attention at the shape of each level, forward and backward, beside dense attention and the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.card.networks import RUNS, named
from benchmarks.card.session import Bench, Part
from benchmarks.card.timing import timed
from hdit_repro.cost.hourglass import keys_seen
from hdit_repro.models import natten_backend
from hdit_repro.models.attention import Attend, Global
from hdit_repro.models.neighborhood import neighborhood_attention
from hdit_repro.spec.model import Hourglass, Level, NeighborhoodAttention

BATCH = {"table1/E": 32, "ffhq1024": 1, "imagenet256": 16}
FORWARD_TENSORS, BACKWARD_TENSORS = 4, 8
"""Tensors of q's size that must pass through memory: q, k, v, out; then those, out's gradient, and three gradients."""


def flex(kernel: int, height: int, width: int, device: torch.device) -> Attend:
    """torch's flex_attention, compiled, over the blocks that hold any key of a query's neighborhood."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def first(at: Tensor, length: int) -> Tensor:
        return (at - kernel // 2).clamp(0, length - kernel)

    def near(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        row, column = first(query // width, height), first(query % width, width)
        down, across = key // width - row, key % width - column
        return (down >= 0) & (down < kernel) & (across >= 0) & (across < kernel)

    mask = create_block_mask(near, None, None, height * width, height * width, device=str(device), _compile=True)
    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        out: Tensor = compiled(q, k, v, block_mask=mask, scale=1.0)
        return out.transpose(1, 2).unflatten(1, (height, width))

    return attend


@lru_cache(maxsize=1)
def compiled_tiles() -> Callable[..., Tensor]:
    """Plain torch's tiles, compiled."""
    return torch.compile(neighborhood_attention, dynamic=False)  # type: ignore[no-any-return]


def backends(level: Level, side: int, bench: Bench) -> dict[str, Callable[[], Attend]]:
    """What can compute a level's attention here, by name; each is made when it is its turn."""
    dense: dict[str, Callable[[], Attend]] = {"dense": Global}
    if not isinstance(level.attention, NeighborhoodAttention):
        return dense
    kernel = level.attention.kernel
    found: dict[str, Callable[[], Attend]] = {
        "tiles": lambda: lambda q, k, v: neighborhood_attention(q, k, v, kernel),
        **dense,
    }
    if bench.device.type == "cuda":
        found["tiles compiled"] = lambda: lambda q, k, v: compiled_tiles()(q, k, v, kernel)
        found["flex"] = lambda: flex(kernel, side, side, bench.device)
        fast = natten_backend.choose().fast
        if fast is not None:
            found["natten"] = lambda: lambda q, k, v: fast.attend(q, k, v, kernel)
    return found


def level_part(name: str, index: int) -> Part:
    """All backends at one level."""

    def work(bench: Bench) -> dict[str, Any]:
        model = named(name, bench.scale).model
        assert isinstance(model, Hourglass)
        if index >= len(model.levels):
            return {"skipped": "the network has no such level at this scale"}
        level = model.levels[index]
        side = model.resolution // model.patch_height >> index
        batch = 1 if bench.tiny else BATCH[name]
        shape = (batch, side, side, level.heads, level.head_width)
        q, k, v = (torch.randn(shape, device=bench.device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        macs = 2 * batch * side * side * keys_seen(level.attention, side * side) * level.width
        times = {title: both_ways(make, q, k, v, bench) for title, make in backends(level, side, bench).items()}
        copy, size = bench.copy_rate(), q.numel() * q.element_size()
        floor = (
            {"forward_s": FORWARD_TENSORS * size / copy, "backward_s": BACKWARD_TENSORS * size / copy} if copy else None
        )
        return {"run": name, "level": index, "shape": list(shape), "macs": macs, "backends": times, "floor": floor}

    return Part(f"attention/{name}/{index}", work)


def both_ways(make: Callable[[], Attend], q: Tensor, k: Tensor, v: Tensor, bench: Bench) -> dict[str, Any]:
    """Seconds of the forward pass and of both, or why there are none."""
    try:
        attend = make()
        gradient = torch.randn_like(q)

        def step() -> None:
            torch.autograd.grad(attend(q, k, v), (q, k, v), gradient)

        def forward() -> None:
            with torch.no_grad():
                attend(q, k, v)

        share = bench.seconds / 4
        one, both = timed(forward, bench.device, share), timed(step, bench.device, share)
    except Exception as error:
        text = str(error).strip().splitlines()
        return {"error": f"{type(error).__name__}: {text[0] if text else ''}"}
    return {"forward_s": one.seconds, "both_s": both.seconds, "memory_gib": both.memory_gib}


PARTS = tuple(level_part(name, index) for name, levels in zip(RUNS, (3, 5, 3), strict=True) for index in range(levels))
