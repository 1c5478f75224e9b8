"""From pixels or tokens to fewer, wider tokens and back; and how the two ways of the hourglass meet (Section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdit_repro.models.layers import Linear
from hdit_repro.models.tiles import cut, joined
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

Patch = tuple[int, int]


class TokenMerge(nn.Module):
    """Pixel-unshuffle by `patch`, then a linear layer without bias."""

    def __init__(self, width_in: int, width_out: int, patch: Patch = (2, 2)) -> None:
        super().__init__()
        self.patch = patch
        self.proj = Linear(width_in * patch[0] * patch[1], width_out)

    def forward(self, x: Tensor) -> Tensor:  # B (H p) (W q) D to B H W D'
        parts = cut(x, *self.patch).transpose(2, 3)  # B H W p q D
        out: Tensor = self.proj(parts.flatten(3))
        return out


class TokenSplit(nn.Module):
    """A linear layer without bias that starts at zero, then pixel-shuffle by `patch`."""

    def __init__(self, width_in: int, width_out: int, patch: Patch) -> None:
        super().__init__()
        self.patch = patch
        self.proj = Linear(width_in, width_out * patch[0] * patch[1], start="zero")

    def forward(self, x: Tensor) -> Tensor:  # B H W D to B (H p) (W q) D'
        return spread(self.proj(x), self.patch)


def spread(x: Tensor, patch: Patch) -> Tensor:
    """Pixel-shuffle: B H W (p q D) to B (H p) (W q) D."""
    return joined(torch.unflatten(x, 3, (*patch, -1)).transpose(2, 3))


class Lerp(nn.Module):
    """skip + fac (x - skip), one learned `fac` that starts at one half (Equation 6 with f = 1 - fac)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fac = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # B H W D, twice
        return torch.lerp(skip, x.to(skip.dtype), self.fac.to(skip.dtype))


class Add(nn.Module):
    """x + skip."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # B H W D, twice
        return x + skip


class Concat(nn.Module):
    """x and skip side by side, projected back to their width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = Linear(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # B H W D, twice
        out: Tensor = self.proj(torch.cat((x, skip.to(x.dtype)), dim=-1))
        return out


SKIPS: dict[str, type[Lerp] | type[Add] | type[Concat]] = {"lerp": Lerp, "add": Add, "concat": Concat}


class SkipSplit(nn.Module):
    """Split tokens 2 x 2, then meet the skip that left the same level on the way down."""

    def __init__(self, width_in: int, width_out: int, skip: spec.Skip) -> None:
        super().__init__()
        self.proj = Linear(width_in, width_out * 4)
        self.join = SKIPS[kind_of(skip)](width_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # B H W D, B 2H 2W D'
        out: Tensor = self.join(spread(self.proj(x), (2, 2)), skip)
        return out
