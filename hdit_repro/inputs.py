"""What networks and losses are both given, checked alike: pixels and noise levels; values where looking is free."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hdit_repro.errors import UserError


def extremes(values: Tensor) -> tuple[float, float] | None:
    """The least and the largest value, or None where there is none or looking is not free.

    It would wait for a card, end a compiler's graph, and find nothing in a tensor that is an outline (of a subclass) or
    stands for many (of `torch.func`).
    """
    if torch.compiler.is_compiling() or values.device.type != "cpu" or not values.numel():
        return None
    if type(values) is not Tensor or torch._C._functorch.is_functorch_wrapped_tensor(values):
        return None
    low, high = values.detach().aminmax()
    return low.item(), high.item()


def check_pixels(image: Tensor) -> None:
    """Refuse images of whole numbers: bytes would be taken for values that are far out.

    Raises:
        UserError: with the dtype found.
    """
    if not image.is_floating_point():
        raise UserError(
            "images must be floating point, on the scale of [-1, 1]",
            found=image.dtype,
            expected="a floating-point dtype",
            fix="image.float() / 127.5 - 1 of bytes",
        )


def check_noise(image: Tensor, noise: Tensor) -> None:
    """Refuse noise of another shape than the images': some of it would be given to several.

    Raises:
        UserError: with both shapes.
    """
    if noise.shape != image.shape:
        raise UserError(
            "noise must have the shape of the images",
            found=f"noise of {tuple(noise.shape)}",
            expected=tuple(image.shape),
            fix="torch.randn_like(image)",
        )


def check_level(level: Tensor, batch: int, name: str) -> None:
    """Refuse a noise level (sigma or t) that is not one number a sample.

    Raises:
        UserError: with the shape found.
    """
    if level.shape != (batch,):
        raise UserError(
            f"{name} must be one number a sample",
            found=tuple(level.shape),
            expected=(batch,),
            fix=f"{name}.expand(len(x)) gives one noise level to all; {name}.flatten() makes a row of a column",
        )


def check_positive(sigma: Tensor) -> None:
    """Refuse a sigma of which there is no logarithm, where looking is free.

    Raises:
        UserError: with the least and the largest.
    """
    found = extremes(sigma)
    if found is not None and not 0 < found[0] <= found[1] < math.inf:
        raise UserError(
            "sigma must be above 0 and finite",
            found=f"{found[0]:g} to {found[1]:g}",
            expected="positive numbers",
            fix="leave out a level of 0: nothing is to be denoised there",
        )
