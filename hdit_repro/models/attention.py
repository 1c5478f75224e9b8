"""Attention on a grid of tokens: who sees whom.

Axes, one letter each, the same in every file under models/:
    B batch    C channels or conditioning width    H W rows and columns (pixels of an image, or tokens)
    D model width    N heads    E width of one head

Every kind takes q, k, v of B H W N E and gives B H W N E, so an ablation swaps one object for another. The scale is
in q and k already (`layers.py`): each kind is softmax(q k^T) v over the keys that a query may see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hdit_repro.models.backends import Fast, choose
from hdit_repro.models.neighborhood import check_neighborhood, neighborhood_attention
from hdit_repro.models.short import attend
from hdit_repro.models.windows import Grid, into_windows, out_of_windows, seam
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of


class Attend(Protocol):
    """q, k, v (B H W N E) to what each query gathered (B H W N E)."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Global:
    """Every token sees every token; cost quadratic in tokens (Appendix A)."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        height = q.shape[1]
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))  # B N (H W) E
        out = attend(q, k, v)
        return torch.unflatten(out.transpose(1, 2), 1, (height, -1))


@dataclass(frozen=True)
class Neighborhood:
    """Every token sees the `kernel` x `kernel` tokens around it (Section 4.3; Hassani et al., 2023).

    `fast` is the backend (`backends.py`); None, and what it does not take, goes through plain torch. A kernel larger
    than the grid is refused, never cut down: the run would be another one.
    """

    kernel: int
    fast: Fast | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.fast is not None:
            check_neighborhood(q, k, v, self.kernel)  # before it is asked; ours looks itself
            if len(q) and self.fast.takes(q, self.kernel):
                return self.fast.attend(q, k, v, self.kernel)
        return neighborhood_attention(q, k, v, self.kernel)


@dataclass(frozen=True)
class ShiftedWindow:
    """Tokens see the tokens of their own `window` x `window` tile (Swin); `shift` moves the tiles up and left.

    The grid is rolled down and right by `shift`; the first row and column of tiles then hold both ends of the image,
    which do not see each other.
    """

    window: int
    shift: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, height, width, heads = q.shape[:4]
        grid = Grid(batch, height, width, heads, self.window, self.shift, q.device)
        bias = seam(*grid.tiles, self.window, self.shift, q.dtype, q.device) if self.shift else None
        q, k, v = (into_windows(x, grid) for x in (q, k, v))
        return out_of_windows(attend(q, k, v, bias), grid)


def _global(choice: spec.GlobalAttention, index: int) -> Attend:
    return Global()


def _neighborhood(choice: spec.NeighborhoodAttention, index: int) -> Attend:
    return Neighborhood(choice.kernel, choose().fast)


def _shifted_window(choice: spec.ShiftedWindowAttention, index: int) -> Attend:
    return ShiftedWindow(choice.window, choice.window // 2 if index % 2 else 0)


def _none(choice: spec.NoAttention, index: int) -> None:
    return None


ATTENTION: dict[str, Callable[..., Attend | None]] = {
    "global": _global,
    "neighborhood": _neighborhood,
    "shifted-window": _shifted_window,
    "none": _none,
}


def make_attention(choice: spec.Attention, index: int) -> Attend | None:
    """The attention of the layer numbered `index` within its level; None for a level without attention.

    Layers are numbered 0 ... d-1 on the way down and d ... 2d-1 on the way up; odd ones shift their windows.
    """
    return ATTENTION[kind_of(choice)](choice, index)
