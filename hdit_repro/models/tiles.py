"""Grids of tokens as tiles, and back: reshapes and permutations of axes, which move no value where strides allow it.

The networks name axes in torch's own words and not by einops: the compiler follows line by line how einops reads a
pattern, at every call, which took most of the time of tracing a network.
"""

from __future__ import annotations

from torch import Tensor


def cut(x: Tensor, height: int, width: int) -> Tensor:
    """B (Y height) (X width) ... to B Y height X width ...; sides that are no multiple raise RuntimeError."""
    batch, down, across, *rest = x.shape
    return x.reshape(batch, down // height, height, across // width, width, *rest)


def joined(x: Tensor) -> Tensor:
    """B Y H X W ... to B (Y H) (X W) ...: `cut` undone."""
    batch, down, height, across, width, *rest = x.shape
    return x.reshape(batch, down * height, across * width, *rest)


def sequences(x: Tensor, height: int, width: int) -> Tensor:
    """B (Y height) (X width) N E to (Y X) (B N) (height width) E: one attention a tile."""
    batch, _, _, heads, head = x.shape
    tiles = cut(x, height, width).permute(1, 3, 0, 5, 2, 4, 6)
    return tiles.reshape(-1, batch * heads, height * width, head)


def grid_of(x: Tensor, height: int, width: int, across: int, batch: int) -> Tensor:
    """(Y across) (batch N) (height width) E to batch (Y height) (across width) N E: `sequences` undone."""
    tiles, rows, _, head = x.shape
    parts = x.reshape(tiles // across, across, batch, rows // batch, height, width, head)
    return joined(parts.permute(2, 0, 4, 1, 5, 3, 6))


def pairs(rows: Tensor, columns: Tensor) -> Tensor:
    """Who sees whom on each axis (Y Q K and X Q K, bool) to who sees whom in each tile: (Y X) 1 (Q Q) (K K)."""
    both = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return both.flatten(4, 5).flatten(2, 3).flatten(0, 1)[:, None]
