"""What goes into a network, checked before it is used: image, labels, further conditions."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.inputs import check_pixels, extremes


def check_image(x: Tensor, channels: int) -> None:
    """Refuse what is no batch of floating-point images of `channels` channels, an empty one too.

    Raises:
        UserError: with the shape or dtype found.
    """
    check_pixels(x)
    if x.ndim != 4 or x.shape[1] != channels or not len(x):
        raise UserError(
            "this is no batch of images for this network",
            found=tuple(x.shape),
            expected=f"B C H W with one image or more, C = {channels}",
            fix="x[None] makes a batch of one image; channels are those of the network's configuration",
        )


def check_dtype(x: Tensor, weight: Tensor) -> None:
    """Refuse images of another dtype than the weights that they meet, where autocast does not bring the two together.

    Args:
        x: the images.
        weight: of the network's first layer.

    Raises:
        UserError: with both dtypes.
    """
    if x.dtype != weight.dtype and not _autocasts(x, weight):
        raise UserError(
            "the images are of another dtype than the network's weights",
            found=f"images of {x.dtype}, weights of {weight.dtype}",
            expected=f"images of {weight.dtype}",
            fix=f"x.to({weight.dtype}), or the whole network.to({x.dtype})",
        )


def _autocasts(*tensors: Tensor) -> bool:
    """Whether autocast gives a product of these one dtype: it leaves float64 as it is."""
    device = tensors[0].device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return on and all(each.dtype != torch.float64 for each in tensors)


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
    found = extremes(labels)
    if found is not None and (found[0] < 0 or found[1] >= rows):
        raise UserError(
            "class_cond is out of range",
            found=f"{found[0]} to {found[1]}",
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
