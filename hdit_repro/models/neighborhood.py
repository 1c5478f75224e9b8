"""Neighborhood attention in plain torch: exact, trainable everywhere, memory linear in tokens.

The grid is cut into tiles of at most `TILE` x `TILE` queries. The keys that a tile needs form a rectangle of
`TILE + kernel - 1` a side; they are gathered, and one masked attention runs per tile. On a CPU this goes strip by
strip, so that what is gathered stays small: it is gathered again in the backward pass and never kept. Compiled code
takes all tiles at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.models.tiles import grid_of, pairs, sequences

TILE = 8
STRIP = 1 << 21
"""Up to how many elements of gathered keys a strip of tiles may have; one row of tiles is the least."""


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


def check_neighborhood(q: Tensor, k: Tensor, v: Tensor, kernel: int) -> None:
    """Refuse queries, keys and values of different shapes, and a kernel without a middle or larger than the grid.

    Backends do not look: some would take other tokens for neighbors, and say nothing.

    Raises:
        UserError: says which.
    """
    if q.ndim != 5 or not q.shape == k.shape == v.shape:
        raise UserError(
            "queries, keys and values are not of one grid of tokens",
            found=", ".join(f"{name} {tuple(x.shape)}" for name, x in (("q", q), ("k", k), ("v", v))),
            expected="one shape B H W N E for all three",
            fix="k.expand_as(q) where all images share their keys; pad or resize grids of another size",
        )
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(
            "a neighborhood has its query in the middle",
            found=f"kernel {kernel}",
            expected="an odd kernel, 1 or more",
            fix="use kernel=7, the paper's, or another odd number",
        )
    if kernel > min(q.shape[1:3]):
        raise UserError(
            "a neighborhood does not fit its grid of tokens",
            found=f"kernel {kernel} on {q.shape[1]} x {q.shape[2]} tokens",
            expected="a kernel no larger than the shorter side",
            fix="use larger images, a smaller patch or a smaller kernel",
        )


def neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
    """Each query attends to the kernel x kernel keys around it, scale 1.

    Args:
        q, k, v: B H W N E, with kernel <= min(H, W).
        kernel: odd side of the neighborhood, in tokens.

    Returns:
        B H W N E.

    Raises:
        UserError: q, k and v are of different shapes, or there is no such neighborhood on their grid.
    """
    check_neighborhood(q, k, v, kernel)
    if len(q) == 0:
        return q + k + v  # nothing, of which gradients can be asked
    height, width = q.shape[1:3]
    if device_of(q).type == "cpu" and not torch.compiler.is_compiling():
        out: Tensor = Strips.apply(q, k, v, kernel)  # type: ignore[no-untyped-call]
        return out
    rows, columns = cut_axis(height, kernel, q.device), cut_axis(width, kernel, q.device)
    tiles = _queries(_padded(q, rows, columns), rows, columns)
    found = F.scaled_dot_product_attention(
        tiles, _halo(k, rows, columns), _halo(v, rows, columns), attn_mask=_mask(rows, columns), scale=1.0
    )
    return _grid(found, rows, columns, len(q))[:, :height, :width]


def device_of(x: Tensor) -> torch.device:
    """Where a tensor lies; a name of its own, so that tests on a CPU can take the way of other devices."""
    return x.device


class Strips(torch.autograd.Function):
    """The same on a CPU, some rows of tiles at a time, by the kernels behind scaled_dot_product_attention there.

    For the backward pass it keeps q, k, v, the output and one logarithm a query.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
        height, width = q.shape[1:3]
        rows, columns = cut_axis(height, kernel, q.device), cut_axis(width, kernel, q.device)
        padded, sums, parts = _padded(q, rows, columns), [], []
        for strip, at in _strips(rows, columns, q):
            found, logsum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                _queries(padded[:, at], strip, columns),
                _halo(k, strip, columns),
                _halo(v, strip, columns),
                attn_mask=_bias(strip, columns, k.dtype),
                scale=1.0,
            )
            parts.append(_grid(found, strip, columns, len(q)))
            sums.append(logsum)
        out = torch.cat(parts, dim=1)
        ctx.cuts = rows, columns
        ctx.save_for_backward(padded, k, v, out, *sums)
        return out[:, :height, :width]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        rows, columns = ctx.cuts
        q, k, v, out, *sums = ctx.saved_tensors
        height, width = k.shape[1:3]
        gradient = _padded(gradients[0], rows, columns)
        to_q, to_k, to_v = [], torch.zeros_like(k), torch.zeros_like(v)
        for (strip, at), logsum in zip(_strips(rows, columns, k), sums, strict=True):
            of_q, of_k, of_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _queries(gradient[:, at], strip, columns),
                _queries(q[:, at], strip, columns),
                _halo(k, strip, columns),
                _halo(v, strip, columns),
                _queries(out[:, at], strip, columns),
                logsum,
                0.0,
                False,
                attn_mask=_bias(strip, columns, k.dtype),
                scale=1.0,
            )
            to_q.append(_grid(of_q, strip, columns, len(q)))
            _spread(of_k, to_k, strip, columns)
            _spread(of_v, to_v, strip, columns)
        return torch.cat(to_q, dim=1)[:, :height, :width], to_k, to_v, None


def _strips(rows: Cut, columns: Cut, like: Tensor) -> Iterator[tuple[Cut, slice]]:
    """Strips of whole rows of tiles, and which rows of padded queries are theirs."""
    batch, _, _, heads, head = like.shape
    gathered = batch * heads * head * rows.span * columns.span * columns.tiles
    step = max(1, STRIP // gathered)
    for first in range(0, rows.tiles, step):
        tiles = min(step, rows.tiles - first)
        some = slice(first, first + tiles)
        at = slice(first * rows.tile, (first + tiles) * rows.tile)
        yield Cut(tiles, rows.tile, rows.span, rows.keys[some], rows.near[some]), at


def _padded(x: Tensor, rows: Cut, columns: Cut) -> Tensor:
    """B H W N E with zeros below and to the right, so that tiles are whole."""
    below, right = rows.tiles * rows.tile - x.shape[1], columns.tiles * columns.tile - x.shape[2]
    return F.pad(x, (0, 0, 0, 0, 0, right, 0, below)) if below or right else x


def _queries(x: Tensor, rows: Cut, columns: Cut) -> Tensor:
    """Padded B H W N E as tiles."""
    return sequences(x, rows.tile, columns.tile)


def _grid(x: Tensor, rows: Cut, columns: Cut, batch: int) -> Tensor:
    """Tiles as padded B H W N E."""
    return grid_of(x, rows.tile, columns.tile, columns.tiles, batch)


def _mask(rows: Cut, columns: Cut) -> Tensor:
    """Who sees whom within each tile: bool, (tiles, 1, queries, keys)."""
    return pairs(rows.near, columns.near)


def _bias(rows: Cut, columns: Cut, dtype: torch.dtype) -> Tensor:
    """The mask as what is added to logits: 0 or minus infinity."""
    mask = _mask(rows, columns)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def _halo(x: Tensor, rows: Cut, columns: Cut) -> Tensor:
    """The keys of every tile (B H W N E to tiles (B N) (span span) E); tiles share those in their overlap."""
    x = x.index_select(1, rows.keys.flatten()).index_select(2, columns.keys.flatten())
    return sequences(x, rows.span, columns.span)


def _spread(gathered: Tensor, total: Tensor, rows: Cut, columns: Cut) -> None:
    """Add what came for the keys of every tile to the grid that they were gathered from (B H W N E)."""
    batch = len(total)
    tiles = grid_of(gathered, rows.span, columns.span, columns.tiles, batch)
    wide = tiles.new_zeros(batch, tiles.shape[1], *total.shape[2:]).index_add_(2, columns.keys.flatten(), tiles)
    total.index_add_(1, rows.keys.flatten(), wide)
