"""Positions that are added to the tokens once, after the patches are embedded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

SLOWEST = 10_000.0
TOLERANCE = 1e-5


def sin_cos(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of column and row numbers, as facebookresearch/DiT lays them out.

    The first half of the channels encodes the column, the second the row; each half holds channels / 4 sines, then as
    many cosines, with frequencies from 1 down to 1 / 10,000 (left out), log-spaced.

    Returns:
        float64, H W D.
    """
    quarter = channels // 4
    ramp = torch.arange(quarter, device=device, dtype=torch.float64) / quarter
    frequency = SLOWEST**-ramp

    def axis(length: int) -> Tensor:
        angle = torch.arange(length, device=device, dtype=torch.float64)[:, None] * frequency
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    columns = axis(width)[None].expand(height, -1, -1)
    rows = axis(height)[:, None].expand(-1, width, -1)
    return torch.cat((columns, rows), dim=-1)


def check_fixed(found: Tensor, name: str, path: Path) -> None:
    """Refuse fixed positions of a released file, H W D, that are not `sin_cos`; float32 may round.

    Args:
        name, path: of the tensor and its file, for the message.

    Raises:
        UserError: they differ, or have another shape.
    """
    off = float("inf")
    if found.ndim == 3 and found.shape[2] % 4 == 0:
        height, width, channels = found.shape
        off = float((found.double() - sin_cos(height, width, channels, found.device)).abs().max())
    if not off <= TOLERANCE:
        raise UserError(
            f"{name} is not the fixed position embedding of this network",
            found=f"{path}: {name} of shape {tuple(found.shape)} differs by up to {off:.3g}",
            expected=f"sines and cosines of a {' x '.join(map(str, found.shape[:2]))} grid, to {TOLERANCE}",
            fix="use the weights of a network of this input_size and patch_size",
        )


class NoAddition(nn.Module):
    """The tokens as they are; positions turn queries and keys instead (`rope.py`)."""

    def __init__(self, network: spec.Hourglass) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:  # B H W D
        return x


class LearnedPosition(nn.Module):
    """One learned vector a token (H W D). It ties the network to the grid of its resolution: another one is refused
    (UserError)."""

    def __init__(self, network: spec.Hourglass) -> None:
        super().__init__()
        self.patch = (network.patch_height, network.patch_width)
        grid = network.resolution // self.patch[0], network.resolution // self.patch[1]
        self.weight = nn.Parameter(torch.empty(*grid, network.widths[0]))

    def forward(self, x: Tensor) -> Tensor:  # B H W D
        if x.shape[1:3] != self.weight.shape[:2]:
            have, want = (
                " x ".join(str(side * step) for side, step in zip(grid, self.patch, strict=True))
                for grid in (x.shape[1:3], self.weight.shape[:2])
            )
            raise UserError(
                "learned positions know one image size only",
                found=f"{have} pixels",
                expected=f"{want} pixels",
                fix="use axial RoPE or sin-cos positions for other sizes",
            )
        return x + self.weight.to(x.dtype)


class SinCosPosition(nn.Module):
    """Fixed sines and cosines, for any grid."""

    def __init__(self, network: spec.Hourglass) -> None:
        super().__init__()
        assert network.widths[0] % 4 == 0, f"{network.widths[0]} channels cannot hold sines and cosines of two axes"

    def forward(self, x: Tensor) -> Tensor:  # B H W D
        added = sin_cos(x.shape[1], x.shape[2], x.shape[3], x.device)
        return x + added.to(x.dtype)


POSITIONS: dict[str, type[NoAddition] | type[LearnedPosition] | type[SinCosPosition]] = {
    "axial-rope": NoAddition,
    "learned": LearnedPosition,
    "sin-cos": SinCosPosition,
}


def make_position(network: spec.Hourglass) -> NoAddition | LearnedPosition | SinCosPosition:
    """What a network adds to its tokens, as its spec says."""
    return POSITIONS[kind_of(network.position)](network)
