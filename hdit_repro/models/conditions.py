"""What goes into a network, checked before it is used: image, noise level, labels, further conditions."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.errors import UserError


def check_image(x: Tensor, channels: int) -> None:
    """Refuse what is no batch of floating-point images of `channels` channels, an empty one too.

    Raises:
        UserError: with the shape or dtype found.
    """
    if x.ndim != 4 or x.shape[1] != channels or not len(x) or not x.is_floating_point():
        raise UserError(
            "this is no batch of images for this network",
            found=f"{tuple(x.shape)}, {x.dtype}",
            expected=f"B C H W with one image or more, C = {channels}, floating point",
            fix="x.float(), and the channels of the network's configuration",
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
            fix="sigma.expand(len(x)) gives one noise level to all",
        )


def check_labels(labels: Tensor | None, batch: int, rows: int) -> None:
    """Refuse labels that are missing, not wanted, of another shape, or (where looking is free) out of range.

    `rows` is the number of embedded labels, the dropped one included; 0 is a network without labels.

    Raises:
        UserError: says which.
    """
    if rows == 0:
        _refuse_unused(labels, "class_cond", "has no classes")
        return
    if labels is None:
        raise UserError(
            "class_cond is missing",
            found="a network with classes, called without labels",
            expected=f"int64 labels of shape ({batch},), 0 to {rows - 1}",
            fix="pass class_cond; the last index is the dropped class, for an unconditional prediction",
        )
    if labels.shape != (batch,) or labels.dtype not in (torch.int64, torch.int32):
        raise UserError(
            "class_cond must be one integer a sample",
            found=f"{tuple(labels.shape)}, {labels.dtype}",
            expected=f"({batch},), int64 or int32",
            fix="torch.tensor([...]) of class numbers, one a sample",
        )
    if labels.device.type == "cpu" and batch and not torch.compiler.is_compiling():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= rows:
            raise UserError(
                "class_cond is out of range",
                found=f"{low} to {high}",
                expected=f"0 to {rows - 1}, the last is dropped",
                fix="number the classes from 0",
            )


def check_vector(value: Tensor | None, batch: int, width: int, name: str, *, optional: bool) -> None:
    """Refuse a condition that is missing, not wanted or of another shape than (B, width).

    Raises:
        UserError: says which.
    """
    if width == 0:
        _refuse_unused(value, name, "takes no such condition")
    elif value is None and not optional:
        raise UserError(
            f"{name} is missing",
            found=f"a network that takes {name}, called without it",
            expected=(batch, width),
            fix=f"pass {name}",
        )
    elif value is not None and value.shape != (batch, width):
        raise UserError(
            f"{name} has another shape",
            found=tuple(value.shape),
            expected=(batch, width),
            fix=f"pass {name} with one row a sample",
        )


def _refuse_unused(value: Tensor | None, name: str, why: str) -> None:
    if value is not None:
        raise UserError(
            f"{name} would be ignored: this network {why}",
            found=f"{name} of shape {tuple(value.shape)}",
            expected="None",
            fix=f"leave {name} out",
        )
