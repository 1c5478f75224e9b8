"""How an image of any size becomes a square one: the named transforms of `spec.data.Data`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hdit_repro.data.decode import MAX_PIXELS
from hdit_repro.errors import UserError

Pixels = NDArray[np.uint8]
Transform = Callable[[Image.Image, int], Pixels]


def adm(image: Image.Image, side: int) -> Pixels:
    """Box halvings while the short side is at least twice `side`, then bicubic, then the centre.

    Source: ADM's `center_crop_arr` (guided-diffusion), which DiT uses too: both sides are rounded to the nearest
    pixel, the crop's offset is rounded down.

    Args:
        image: mode RGB, any size.
        side: of the result, in pixels.

    Returns:
        uint8, `side` `side` 3.

    Raises:
        UserError: a strip so long that it would fill the memory.
    """
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    _refuse_endless(image, size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    return _crop(image, (image.width - side) // 2, (image.height - side) // 2, side)


def k_diffusion(image: Image.Image, side: int) -> Pixels:
    """Bicubic to the short side with Pillow's antialiasing, then the centre.

    Source: the released training script, torchvision's Resize and CenterCrop: the long side is rounded down, the
    crop's offset to the nearest pixel (halves to even).

    Args:
        image: mode RGB, any size.
        side: of the result, in pixels.

    Returns:
        uint8, `side` `side` 3.

    Raises:
        UserError: a strip so long that it would fill the memory.
    """
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    _refuse_endless(image, size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return _crop(image, round((image.width - side) / 2), round((image.height - side) / 2), side)


def none(image: Image.Image, side: int) -> Pixels:
    """The image as it is: uint8, `side` `side` 3.

    Raises:
        UserError: it has another size.
    """
    if image.size != (side, side):
        raise UserError(
            "an image has the wrong size, and the transform 'none' changes none",
            found=f"{image.width} x {image.height} pixels",
            expected=f"{side} x {side}",
            fix="name the transform 'adm' or 'k-diffusion'",
        )
    return _crop(image, 0, 0, side)


TRANSFORMS: dict[str, Transform] = {"adm": adm, "k-diffusion": k_diffusion, "none": none}


def _refuse_endless(image: Image.Image, size: tuple[int, int]) -> None:
    """A strip of 1 x 50,000 pixels would fill the memory on its way to a square.

    Raises:
        UserError: the picture between resize and crop would have more pixels than any that is decoded.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(
            "an image is too long for its width",
            found=f"{image.width} x {image.height} pixels, {size[0]} x {size[1]} before the crop",
            expected=f"at most {MAX_PIXELS:,} pixels before the crop",
            fix="take it out, or crop it first",
        )


def _crop(image: Image.Image, left: int, top: int, side: int) -> Pixels:
    return np.array(image.crop((left, top, left + side, top + side)), dtype=np.uint8)
