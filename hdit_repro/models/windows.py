"""How a grid of tokens is cut into shifted windows: which token goes where, and who sees whom.

What depends on the grid's shape alone is computed once and kept (as tensors that training too may keep, wherever they
were first asked for); compiled code holds it as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from hdit_repro.models.tiles import grid_of, pairs, sequences

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """`torch.compiler.assume_constant_result`, which would import the compiler: seconds, where nothing is compiled."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True)
class Grid:
    """Tokens of a batch, B H W N, and their windows: `window` a side, the grid rolled down and right by `shift`.

    No named tuple: the compiler of torch 2.10 does not know the properties of one.
    """

    batch: int
    height: int
    width: int
    heads: int
    window: int
    shift: int
    device: torch.device

    @property
    def tiles(self) -> tuple[int, int]:
        """How many windows down and across."""
        return self.height // self.window, self.width // self.window

    @property
    def facts(self) -> tuple[int, int, int, int, int, int, torch.device]:
        """All that it is, in order."""
        return self.batch, self.height, self.width, self.heads, self.window, self.shift, self.device


class Reorder(torch.autograd.Function):
    """Rows of x (R E) in another order: row i of the result is row there[i] of x; `back` is the inverse."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return reorder(gradients[0], back, there), None, None


def reorder(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """The rows of x (... E) in another order, as one list: row i of the result is row there[i] of x."""
    out: Tensor = Reorder.apply(x.reshape(-1, x.shape[-1]), there, back)  # type: ignore[no-untyped-call]
    return out


def into_windows(x: Tensor, grid: Grid) -> Tensor:
    """B H W N E to sequences: (windows) (B N) (window^2) E."""
    if not grid.shift:
        side = grid.window
        return sequences(x, side, side)
    rows = reorder(x, tokens_of(*grid.facts), places_of(*grid.facts))
    down, across = grid.tiles
    return rows.view(down * across, grid.batch * grid.heads, grid.window**2, x.shape[-1])


def out_of_windows(x: Tensor, grid: Grid) -> Tensor:
    """Sequences back to B H W N E."""
    batch, height, width, heads, side = grid.facts[:5]
    if not grid.shift:
        return grid_of(x, side, side, grid.tiles[1], batch)
    rows = reorder(x, places_of(*grid.facts), tokens_of(*grid.facts))
    return rows.view(batch, height, width, heads, x.shape[-1])


@constant
def tokens_of(batch: int, height: int, width: int, heads: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Which row of the grid (B H W N) comes at each place of the windows: int64, as many as there are rows."""
    return _tokens_of(batch, height, width, heads, window, shift, device)


@constant
def places_of(batch: int, height: int, width: int, heads: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Where in the windows each row of the grid went: the inverse of `tokens_of`."""
    return _places_of(batch, height, width, heads, window, shift, device)


@constant
def seam(down: int, across: int, window: int, shift: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`same_side` as what is added to logits: 0 where a query may look, else minus infinity."""
    return _seam(down, across, window, shift, dtype, device)


def same_side(down: int, across: int, window: int, shift: int) -> Tensor:
    """Which query may see which key in rolled windows: both before the seam or both after it, on each axis.

    Returns:
        bool, (windows, 1, window^2 queries, window^2 keys).
    """

    def axis(tiles: int) -> Tensor:
        after = torch.arange(tiles * window).reshape(tiles, window) >= shift
        return after[:, :, None] == after[:, None, :]

    return pairs(axis(down), axis(across))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _tokens_of(
    batch: int, height: int, width: int, heads: int, window: int, shift: int, device: torch.device
) -> Tensor:
    rows = torch.arange(batch * height * width * heads, device=device).view(batch, height, width, heads)
    rolled = rows.roll((shift, shift), dims=(1, 2))
    return sequences(rolled[..., None], window, window).flatten().contiguous()


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _places_of(
    batch: int, height: int, width: int, heads: int, window: int, shift: int, device: torch.device
) -> Tensor:
    return _tokens_of(batch, height, width, heads, window, shift, device).argsort()


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _seam(down: int, across: int, window: int, shift: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    sees = same_side(down, across, window, shift)
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, -torch.inf).to(device)
