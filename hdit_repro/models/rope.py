"""Rotary positions on two axes (Section 4.2): half of each head turns with the place of its token."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hdit_repro.models.arithmetic import wide
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

SLOWEST, FASTEST = math.pi, 10 * math.pi


class Places(NamedTuple):
    """Where the rows and the columns of a grid lie: coordinates (H,) and (W,)."""

    rows: Tensor
    columns: Tensor


def places(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Places:
    """Centres of a height x width grid in a box that keeps its aspect ratio: the longer side is [-1, 1].

    A merged token lies at the mean of its 2 x 2 tokens, which is the centre of its cell in the coarser grid, so every
    level of an hourglass may ask for its own grid.
    """

    def centres(length: int) -> Tensor:
        at = torch.arange(length, device=device, dtype=dtype)
        return (2 * at + 1 - length) / max(height, width)

    return Places(centres(height), centres(width))


def frequencies(heads: int, pairs: int) -> Tensor:
    """float32 (N, pairs): log-spaced from pi to 10 pi (left out), running over heads first, then over pairs, as in the
    released code; print names none."""
    steps = torch.linspace(math.log(SLOWEST), math.log(FASTEST), heads * pairs + 1, device="cpu")[:-1].exp()
    return torch.unflatten(steps, 0, (pairs, heads)).T.contiguous()


class AxialRoPE(nn.Module):
    """Turn the first half of each head in pairs (i, i + E/4): E/8 pairs by the row, then E/8 by the column.

    The angle is frequency times coordinate; `freqs` (N, E/8) serves both axes and is a buffer.
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.pairs = heads, head_width // 8
        self.freqs: Tensor
        self.register_buffer("freqs", torch.empty(heads, self.pairs))

    def forward(self, q: Tensor, k: Tensor, at: Places) -> tuple[Tensor, Tensor]:  # B H W N E, twice
        cos, sin = self.angles(at, wide(q.dtype, at.rows.dtype, self.freqs.dtype))
        return turn(q, cos, sin), turn(k, cos, sin)

    def angles(self, at: Places, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each token's angles: H W N E/4, in the places' dtype unless told."""
        height, width, dtype = len(at.rows), len(at.columns), dtype or at.rows.dtype
        angle = torch.cat((at.rows, at.columns)).to(dtype)[:, None, None] * self.freqs.to(dtype)  # H + W, N, E/8

        def spread(table: Tensor) -> Tensor:
            rows, columns = table[:height], table[height:]
            whole = (height, width, -1, -1)
            return torch.cat((rows[:, None].expand(whole), columns[None].expand(whole)), dim=-1)

        return spread(angle.cos()), spread(angle.sin())


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + E/4) of the last axis of x (B H W N E); the half from E/2 on stays."""
    pairs = cos.shape[-1]
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    first, second = first.to(cos.dtype), second.to(cos.dtype)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((turned.to(x.dtype), rest), dim=-1)


class NoRotation(nn.Module):
    """Queries and keys as they are, where positions were added to the tokens."""

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()

    def forward(self, q: Tensor, k: Tensor, at: Places) -> tuple[Tensor, Tensor]:  # B H W N E, twice
        return q, k

    def angles(self, at: Places) -> tuple[Tensor, Tensor]:
        """No pairs turn."""
        none = at.rows.new_empty(0)
        return none, none


ROTATIONS: dict[str, type[AxialRoPE] | type[NoRotation]] = {
    "axial-rope": AxialRoPE,
    "learned": NoRotation,
    "sin-cos": NoRotation,
}


def make_rotation(choice: spec.Position, heads: int, head_width: int) -> AxialRoPE | NoRotation:
    """What a choice of positions does to queries and keys."""
    return ROTATIONS[kind_of(choice)](heads, head_width)
