"""One picture of many."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from hdit_repro.files import write_bytes


def save_grid(images: Tensor, path: Path | str, columns: int) -> None:
    """Write a contact sheet as PNG, whole or not at all. The places that remain in the last row are black.

    Args:
        images: uint8 B 3 H W, at least one.
        path: of the PNG file.
        columns: images in a row.

    Raises:
        ValueError: another type or shape, no image, no column.
        RunError: the disk is full.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images) or columns < 1:
        raise ValueError(f"uint8 B 3 H W and columns >= 1 are needed, found {images.dtype} {tuple(images.shape)}")
    rows = math.ceil(len(images) / columns)
    empty = images.new_zeros((rows * columns - len(images), *images.shape[1:]))
    sheet = rearrange(torch.cat([images, empty]).cpu(), "(r k) c h w -> (r h) (k w) c", r=rows, k=columns)
    buffer = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
