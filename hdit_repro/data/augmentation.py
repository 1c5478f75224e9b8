"""The non-leaking geometric augmentation of Karras et al. (2020, 2022), as the released training script applies it.

A draw is mirrored (always a fair coin), and with probability p each is turned upside down (half of the time), scaled,
rotated, stretched along an axis and shifted. The nine values of `Geometry.condition` say what was done; the network is
told them, so that at condition zero it draws images as they were. Everything depends on the draw's number alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.seeds import derive

PROBABILITY = 0.12
SCALE = 2**0.2
STRETCH = 2**0.2
SHIFT = 1 / 8
IN_CACHE = 1 << 15
"""Pixels that are warped at a time on a CPU, so that what lies between two steps stays in its cache."""
VALUES = 9
"""Length of the condition."""

Matrix = NDArray[np.float64]


class Geometry(NamedTuple):
    """What is done to one image. All zero is nothing.

    mirror, upend: 0 or 1. size: log of the scale, in units of log(SCALE). angle: radians, counter-clockwise as seen
    with y pointing down negative. axis: radians, stretch: in units of log(STRETCH), along that axis. right, down: of
    the image's side times SHIFT.
    """

    mirror: float = 0.0
    upend: float = 0.0
    size: float = 0.0
    angle: float = 0.0
    axis: float = 0.0
    stretch: float = 0.0
    right: float = 0.0
    down: float = 0.0

    @property
    def condition(self) -> tuple[float, ...]:
        """The nine values the network is told; zero exactly where nothing was done."""
        return (
            self.mirror,
            self.upend,
            self.size,
            math.cos(self.angle) - 1,
            math.sin(self.angle),
            self.stretch * math.cos(self.axis),
            self.stretch * math.sin(self.axis),
            self.right,
            self.down,
        )

    @property
    def flips_only(self) -> bool:
        """Whether pixels only change places, so that nothing is interpolated."""
        return self.size == self.angle == self.stretch == self.right == self.down == 0

    def matrix(self, height: int, width: int) -> Matrix:
        """Where a pixel (x, y, 1) of the image goes, 3 x 3: shifted, stretched, rotated, scaled, flipped, about the
        image's centre."""
        centre = translation((width - 1) / 2, (height - 1) / 2)
        factor, stretch = SCALE**self.size, STRETCH**self.stretch
        parts = (
            centre,
            scaling(1 - 2 * self.mirror, 1 - 2 * self.upend),
            scaling(factor, factor),
            rotation(-self.angle),
            rotation(self.axis),
            scaling(stretch, 1 / stretch),
            rotation(-self.axis),
            translation(SHIFT * width * self.right, SHIFT * height * self.down),
            translation((1 - width) / 2, (1 - height) / 2),
        )
        out = np.eye(3)
        for part in parts:
            out = out @ part
        return out


class Augmented(NamedTuple):
    """Images (float32 B 3 H W, 0 to 255 but for what interpolation overshoots) and conditions (float32 B 9)."""

    images: Tensor
    condition: Tensor


def geometry(seed: int, draw: int, probability: float = PROBABILITY) -> Geometry:
    """What is done to draw number `draw` of the run with `seed`.

    Sixteen raw outputs of PCG64 (numpy promises them to stay what they are), as uniforms of 53 bits, each with one use.
    """
    words = np.random.PCG64(derive(seed, draw, "augment")).random_raw(16)
    u = [float(word) for word in (words >> np.uint64(11)).astype(np.float64) * 2.0**-53]

    def happens(place: int) -> bool:
        return u[place] < probability

    def normal(place: int) -> tuple[float, float]:
        radius = math.sqrt(-2 * math.log1p(-u[place]))
        return radius * math.cos(math.tau * u[place + 1]), radius * math.sin(math.tau * u[place + 1])

    def angle(place: int) -> float:
        return (2 * u[place] - 1) * math.pi

    size, stretch = normal(5)
    right, down = normal(13)
    return Geometry(
        mirror=float(u[0] < 0.5),
        upend=float(u[2] < 0.5) if happens(1) else 0.0,
        size=size if happens(4) else 0.0,
        angle=angle(8) if happens(7) else 0.0,
        axis=angle(10) if happens(9) else 0.0,
        stretch=stretch if happens(9) else 0.0,
        right=right if happens(12) else 0.0,
        down=down if happens(12) else 0.0,
    )


def augment(images: Tensor, draws: Sequence[int], seed: int, probability: float) -> Augmented:
    """Augment a batch where it lies, each image by its draw's number.

    Sixteen pixels go into each of a warped one: a second and more for an image of 1024^2 on a CPU, a millisecond on a
    card, so the training warps where it trains.

    Args:
        images: uint8, B 3 H W, on any device.
        draws: B numbers.
        seed: of the run.
        probability: of each transformation but the mirroring.

    Returns:
        Images on their device, the condition on the CPU.
    """
    chosen = [geometry(seed, int(draw), probability) for draw in draws]
    moved = [apply(image, one) for image, one in zip(images.to(torch.float32), chosen, strict=True)]
    condition = torch.tensor([one.condition for one in chosen], dtype=torch.float32).reshape(len(chosen), VALUES)
    return Augmented(torch.stack(moved) if moved else images.to(torch.float32), condition)


def apply(image: Tensor, geometry: Geometry) -> Tensor:
    """One image moved: float32 C H W to the same."""
    if geometry.flips_only:
        sides = [dim for dim, done in ((2, geometry.mirror), (1, geometry.upend)) if done]
        return image.flip(sides) if sides else image
    return warp(image, geometry.matrix(image.shape[1], image.shape[2]))


def warp(image: Tensor, matrix: Matrix) -> Tensor:
    """The image under an affine map of pixel places, bicubic (Keys, a = -1/2), mirrored at its borders, not clipped.

    Args:
        image: float32, C H W.
        matrix: 3 x 3, from places (x, y, 1) in `image` to places in the result.
    """
    channels, height, width = image.shape
    back: list[list[float]] = np.linalg.inv(matrix).tolist()
    pixels = image.flatten(1).t().contiguous()  # (H W) C
    lines = height if image.is_cuda else max(1, IN_CACHE // width)
    x = torch.arange(width, dtype=torch.float64, device=image.device)
    y = torch.arange(height, dtype=torch.float64, device=image.device)[:, None]
    parts = []
    for part in torch.split(y, lines):
        from_x = (back[0][0] * x + back[0][1] * part + back[0][2]).flatten()
        from_y = (back[1][0] * x + back[1][1] * part + back[1][2]).flatten()
        parts.append(_gathered(pixels, _taps(from_x, width), _taps(from_y, height), width))
    return torch.cat(parts).t().reshape(channels, height, width)


def _gathered(pixels: Tensor, across: Taps, along: Taps, width: int) -> Tensor:
    """The weighted sums of four times four of `pixels` ((H W) C), for each pair of places: places C."""
    out = pixels.new_zeros(len(across.pixels[0]), pixels.shape[1])
    for row, weight in zip(along.pixels, along.weights, strict=True):
        line = torch.zeros_like(out)
        for column, share in zip(across.pixels, across.weights, strict=True):
            line += share[:, None] * pixels.index_select(0, row * width + column)
        out += weight[:, None] * line
    return out


class Taps(NamedTuple):
    """The four pixels around each place on an axis (int64), and their weights (float32)."""

    pixels: list[Tensor]
    weights: list[Tensor]


def _taps(places: Tensor, length: int) -> Taps:
    """The pixels that places on an axis of `length` pixels are interpolated from."""
    first = places.floor()
    t = (places - first).to(torch.float32)
    pixels = [_mirrored(first.long() + offset, length) for offset in (-1, 0, 1, 2)]
    weights = [
        t * (-0.5 + t * (1 - 0.5 * t)),
        1 + t * t * (1.5 * t - 2.5),
        t * (0.5 + t * (2 - 1.5 * t)),
        t * t * (0.5 * t - 0.5),
    ]
    return Taps(pixels, weights)


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Pixel numbers beyond the border, mirrored at the outermost pixels' centres, as often as it takes."""
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    return (length - 1) - ((length - 1) - index.remainder(period)).abs()


def translation(right: float, down: float) -> Matrix:
    """In pixels."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], dtype=np.float64)


def scaling(across: float, along: float) -> Matrix:
    """By a factor an axis."""
    return np.diag([across, along, 1.0])


def rotation(angle: float) -> Matrix:
    """Takes the x axis towards the y axis."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float64)
