"""Each backend of attention at the shape of each level, forward and backward, beside dense attention and the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.card.networks import RUNS, named
from benchmarks.card.session import Bench, Part, why
from benchmarks.card.timing import timed
from hdit_repro.cost.hourglass import keys_seen
from hdit_repro.models.attention import Attend, Global
from hdit_repro.models.backends import BACKENDS, Fast
from hdit_repro.models.neighborhood import neighborhood_attention
from hdit_repro.spec.model import Hourglass, Level, NeighborhoodAttention

BATCH = {"table1/E": 32, "ffhq1024": 1, "imagenet256": 16}
FORWARD_TENSORS, BACKWARD_TENSORS = 4, 8
"""Tensors of q's size that must pass through memory: q, k, v, out; then those, out's gradient, and three gradients."""
OF_TORCH = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
"""What dense attention on a card comes down to; torch takes one of them by itself, and does not say which."""


def backends(level: Level, q: Tensor) -> dict[str, Attend | str]:
    """What can compute a level's attention here, or why it cannot; all of the suite's backends, and dense attention."""
    found: dict[str, Attend | str] = {"dense": Global()}
    if q.is_cuda:
        found |= {f"dense, {name}": partial(by_torchs_own, only) for name, only in OF_TORCH.items()}
    if isinstance(level.attention, NeighborhoodAttention):
        for name, look in BACKENDS.items():
            found[name] = by_backend(look(), q, level.attention.kernel)
        if q.is_cuda:
            found["tiled, compiled"] = partial(compiled_tiles(), kernel=level.attention.kernel)
    return found


def by_torchs_own(only: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Dense attention by one of torch's implementations.

    Raises:
        RuntimeError: it does not take these inputs or this card.
    """
    with sdpa_kernel(only):
        return Global()(q, k, v)


def by_backend(fast: Fast | str | None, q: Tensor, kernel: int) -> Attend | str:
    """One backend's attention."""
    if isinstance(fast, str):
        return fast
    if fast is None:
        return partial(neighborhood_attention, kernel=kernel)
    if not fast.takes(q, kernel):
        return "does not take this dtype, width or device with gradients"
    return partial(fast.attend, kernel=kernel)


@lru_cache(maxsize=1)
def compiled_tiles() -> Callable[..., Tensor]:
    """Plain torch's tiles, compiled."""
    return torch.compile(neighborhood_attention, dynamic=False)


def level_part(name: str, index: int) -> Part:
    """All backends at one level. Where one raises, the part is tried again, and the others' times are kept."""

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
        before = bench.failed.get(f"attention/{name}/{index}", {}).get("backends", {})
        times = {
            title: before[title] if "both_s" in before.get(title, {}) else both_ways(attend, q, k, v, bench)
            for title, attend in backends(level, q).items()
        }
        copy, size = bench.copy_rate(), q.numel() * q.element_size()
        floor = (
            {"forward_s": FORWARD_TENSORS * size / copy, "backward_s": BACKWARD_TENSORS * size / copy} if copy else None
        )
        found = {"run": name, "level": index, "shape": list(shape), "macs": macs, "backends": times, "floor": floor}
        raised = [f"{title}: {each['error']}" for title, each in times.items() if "trace" in each]
        return found | {"error": "; ".join(raised)} if raised else found

    return Part(f"attention/{name}/{index}", work, seconds=50)


def both_ways(attend: Attend | str, q: Tensor, k: Tensor, v: Tensor, bench: Bench) -> dict[str, Any]:
    """Seconds of the forward pass and of both, or why there are none."""
    if isinstance(attend, str):
        return {"error": attend}
    try:
        gradient = torch.randn_like(q)

        def step() -> None:
            torch.autograd.grad(attend(q, k, v), (q, k, v), gradient)

        def forward() -> None:
            with torch.no_grad():
                attend(q, k, v)

        share = bench.seconds / 4
        one, both = timed(forward, bench.device, share), timed(step, bench.device, share)
    except Exception as error:
        return why(error)
    return {"forward_s": one.seconds, "both_s": both.seconds, "memory_gib": both.memory_gib}


PARTS = tuple(level_part(name, index) for name, levels in zip(RUNS, (3, 5, 3), strict=True) for index in range(levels))
