"""Neighborhood attention by torch's flex_attention: tokens lie tile by tile, so that the blocks of the mask are dense.

A block is a tile of `TILE[0]` x `TILE[1]` tokens. A query's block needs the rectangle of key blocks that its outermost
neighborhoods reach; all other blocks are skipped, so that cost and memory are linear in tokens. Tiles of keys begin
half a kernel before those of queries: what a tile of queries sees is then covered by two tiles of keys an axis, where
tiles in step would take three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from hdit_repro.models.natten_backend import NARROW
from hdit_repro.models.tiles import cut, joined

TILE = (8, 16)
BLOCK = TILE[0] * TILE[1]
"""128 tokens, flex_attention's own size of a block."""
DOWN, ACROSS = (side.bit_length() - 1 for side in TILE)
"""Of two, the powers that a tile's sides are: by so many bits numbers of tokens are shifted."""
WARPS = {"fwd_num_warps": 8}
"""On a card: a block's softmax stays in registers, where by torch's own 4 some of it goes through memory."""
VARIANTS = 64
"""Compiled ones that are kept at most."""


@dataclass(frozen=True)
class TorchFlex:
    """flex_attention under a block mask; `call` is flex_attention itself or a compiled one."""

    call: Callable[..., Any]

    def takes(self, q: Tensor, kernel: int) -> bool:
        """Whether it takes it: at most 32 bits, heads at least 16 wide; on a CPU without gradients, and beside a card
        not at all: there it would be compiled anew, in C++, by a compiler that may not be there."""
        gradients = q.requires_grad and torch.is_grad_enabled()
        alone = q.device.type == "cpu" and not gradients and not torch.cuda.is_available()
        forward = q.device.type == "cuda" or alone
        return forward and q.dtype in NARROW and q.shape[-1] >= 16

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
        """q, k, v: B H W N E. Scale 1: it is in q and k already."""
        height, width = q.shape[1:3]
        make = block_mask if torch.compiler.is_compiling() else kept_mask
        mask = make(height, width, kernel, q.device)
        ahead = (_ahead(height, TILE[0], kernel), _ahead(width, TILE[1], kernel))
        options = WARPS if q.is_cuda else None
        parts = (_tiles(q), _tiles(k, ahead), _tiles(v, ahead))
        out: Tensor = self.call(*parts, block_mask=mask, scale=1.0, kernel_options=options)
        across = -(-width // TILE[1])
        grid = torch.unflatten(out, 2, (-1, across, *TILE)).permute(0, 2, 4, 3, 5, 1, 6)  # B Y h X w N E
        return joined(grid)[:, :height, :width]


def _ahead(length: int, tile: int, kernel: int) -> int:
    """By how many places the tiles of keys of an axis begin before the grid: half a kernel, so that the fewest tiles
    cover what a tile of queries sees; none where that is as many as there are."""
    fewest = 1 + -(-(kernel - 1) // tile)
    return kernel // 2 if -(-length // tile) > fewest else 0


def _tiles(x: Tensor, ahead: tuple[int, int] = (0, 0)) -> Tensor:
    """B H W N E to B N tokens E, tile by tile, the first ones `ahead` of the grid, padded to whole tiles."""
    above, left = ahead
    below, right = -(x.shape[1] + above) % TILE[0], -(x.shape[2] + left) % TILE[1]
    x = F.pad(x, (0, 0, 0, 0, left, right, above, below)) if above or left or below or right else x
    return cut(x, *TILE).permute(0, 5, 1, 3, 2, 4, 6).flatten(2, 5)


def _first(at: Tensor, length: int, kernel: int) -> Tensor:
    """Where the neighborhood of a token begins; tokens beyond the grid see what the last one sees."""
    return (at.clamp(max=length - 1) - kernel // 2).clamp(0, length - kernel)


def _reach(length: int, tile: int, kernel: int, device: torch.device) -> Tensor:
    """Which tiles of queries of an axis need which tiles of keys: bool (tiles, tiles).

    Without division: the compiler of torch 2.13 fails at that of something clamped ("vr must not be None").
    """
    ahead = _ahead(length, tile, kernel)
    queries = torch.arange(-(-length // tile), device=device) * tile
    keys = torch.arange(-(-(length + ahead) // tile), device=device) * tile - ahead
    low, high = _first(queries, length, kernel), _first(queries + tile - 1, length, kernel) + kernel - 1
    return (keys + tile - 1 >= low[:, None]) & (keys <= high[:, None])


def _place(token: Tensor, across: int) -> tuple[Tensor, Tensor]:
    """Row and column of a token by its number, `across` tiles side by side. Shifts, where `//` would be a division that
    rounds down, which on a card is many instructions a token."""
    tile, inside = token >> DOWN + ACROSS, token & BLOCK - 1
    row = torch.div(tile, across, rounding_mode="trunc")
    y, x = inside >> ACROSS, inside & TILE[1] - 1
    return (row << DOWN) + y, ((tile - row * across) << ACROSS) + x


def block_mask(height: int, width: int, kernel: int, device: torch.device) -> BlockMask:
    """The mask of a grid, built from its geometry alone: never tokens x tokens in memory."""
    rows, columns = (_reach(n, t, kernel, device) for n, t in zip((height, width), TILE, strict=True))
    of_queries, of_keys = columns.shape
    needed = (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2).flatten(0, 1)
    counts = needed.sum(dim=-1, dtype=torch.int32)
    order = needed.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    above, left = _ahead(height, TILE[0], kernel), _ahead(width, TILE[1], kernel)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        (qy, qx), (ky, kx) = _place(query, of_queries), _place(key, of_keys)
        y, x = _first(qy, height, kernel) + above, _first(qx, width, kernel) + left
        return (ky >= y) & (ky < y + kernel) & (kx >= x) & (kx < x + kernel)

    return BlockMask.from_kv_blocks(counts[None, None], order[None, None], BLOCK_SIZE=BLOCK, mask_mod=sees)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def kept_mask(height: int, width: int, kernel: int, device: torch.device) -> BlockMask:
    """The same, made once; one first made while sampling serves training too."""
    return block_mask(height, width, kernel, device)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)


def compiled(*arguments: Any, **keywords: Any) -> Any:
    """flex_attention compiled, at the first call; without it every logit would be kept.

    Within a network that is compiled itself it is flex_attention, which becomes part of that. The compiler warns and
    gives up past its limit of variants of a function, 8 by default, and each grid, batch, dtype and mode is one.
    """
    if torch.compiler.is_compiling():
        return flex_attention(*arguments, **keywords)
    with torch._dynamo.config.patch(recompile_limit=VARIANTS):
        return _compiled()(*arguments, **keywords)


@lru_cache(maxsize=1)
def no_triton() -> str:
    """Why Triton, by which flex_attention is compiled for a card, cannot compile here; empty where it can.

    Asked for the card, it compiles a helper of its own in C, in about a second the first time.
    """
    try:
        import_module("triton.runtime.driver").driver.active.get_current_target()
    except Exception as error:
        said = str(error).strip().partition("\n")[0][:200]
        return f"Triton needs a C compiler and Python's headers, and fails: {type(error).__name__}: {said}"
    return ""


def flex() -> TorchFlex | str:
    """flex_attention, compiled, or why it cannot be on this machine's card."""
    return (torch.cuda.is_available() and no_triton()) or TorchFlex(compiled)
