"""Neighborhood attention in plain torch: exact, trainable everywhere, memory linear in tokens.

The grid is cut into tiles of at most `TILE` x `TILE` queries. The keys that a tile needs form a rectangle of
`TILE + kernel - 1` a side; they are gathered, and one masked attention runs per tile.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

TILE = 8


class Cut(NamedTuple):
    """How one axis is cut. `keys` (tiles, span): which keys a tile holds. `near` (tiles, tile, span): who sees whom."""

    tiles: int
    tile: int
    span: int
    keys: Tensor
    near: Tensor


def cut_axis(length: int, kernel: int, device: torch.device) -> Cut:
    """Cut an axis of `length` tokens into tiles of queries, each with the span of keys that it needs.

    Query i sees `kernel` keys from clamp(i - kernel // 2, 0, length - kernel) on: at a border the window moves inward
    and keeps its size. A tile's span starts where its first query's does, and never reaches over the end.
    """
    tiles = -(-length // TILE)
    tile = -(-length // tiles)
    span = min(length, tile + kernel - 1)
    starts = torch.arange(tiles, device=device) * tile
    keys = (starts - kernel // 2).clamp(0, length - span)[:, None] + torch.arange(span, device=device)
    queries = starts[:, None] + torch.arange(tile, device=device)
    queries = queries.clamp(max=length - 1)  # padding beyond the grid sees what the last token sees
    first = (queries - kernel // 2).clamp(0, length - kernel)[:, :, None]
    near = (keys[:, None, :] >= first) & (keys[:, None, :] < first + kernel)
    return Cut(tiles, tile, span, keys, near)


def neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
    """Each query attends to the kernel x kernel keys around it, scale 1.

    Args:
        q, k, v: B H W N E, with kernel <= min(H, W).
        kernel: odd side of the neighborhood, in tokens.

    Returns:
        B H W N E.
    """
    batch, height, width = q.shape[:3]
    assert kernel <= min(height, width), f"{kernel=} is larger than the grid {height} x {width}"
    rows, columns = cut_axis(height, kernel, q.device), cut_axis(width, kernel, q.device)
    padding = (0, 0, 0, 0, 0, columns.tiles * columns.tile - width, 0, rows.tiles * rows.tile - height)
    q = rearrange(F.pad(q, padding), "b (y h) (x w) n e -> (y x) (b n) (h w) e", h=rows.tile, w=columns.tile)
    k, v = _halo(k, rows, columns), _halo(v, rows, columns)
    near = rows.near[:, None, :, None, :, None] & columns.near[None, :, None, :, None, :]
    mask = rearrange(near, "y x qh qw kh kw -> (y x) 1 (qh qw) (kh kw)")
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    out = rearrange(out, "(y x) (b n) (h w) e -> b (y h) (x w) n e", b=batch, y=rows.tiles, h=rows.tile, w=columns.tile)
    return out[:, :height, :width]


def _halo(x: Tensor, rows: Cut, columns: Cut) -> Tensor:
    """The keys of every tile (B H W N E to tiles (B N) (span span) E); tiles share those in their overlap."""
    x = x.index_select(1, rows.keys.flatten()).index_select(2, columns.keys.flatten())
    return rearrange(x, "b (y h) (x w) n e -> (y x) (b n) (h w) e", h=rows.span, w=columns.span)
