"""What is to be said of an image file that decodes: a lossy format, what was converted, what was not followed."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from hdit_repro.data.jpeg import file_kind
from hdit_repro.errors import counted

NOTES = "notes"
"""Where a decoded picture's `info` has them."""

GREY = "grey files, repeated over the channels"
PALETTE = "palette files, brought to RGB"
CLEAR = "files with transparency, laid on white"
CMYK = "CMYK files, brought to RGB"
MOVING = "animated files, of which the first picture is taken"
ORIENTED = "files with an orientation tag, which is not followed"
PROFILED = "files with a colour profile that is not sRGB's, which is not followed"
LOSSY = {"JPEG": "JPEG files", "WebP": "lossy WebP files"}

MODES = {"1": GREY, "L": GREY, "LA": GREY, "P": PALETTE, "PA": PALETTE, "CMYK": CMYK}
ALPHA = frozenset({"LA", "PA", "RGBA"})

ORIENTATION = 0x0112
TAGS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Where Pillow keeps what may hold a picture's orientation."""

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow raises of bytes that it cannot read."""

SRGB_GAMMA = 1 / 2.2
STEPS = (0, 64, 128, 192, 255)
SLACK = 4
"""Levels of 255 by which the colours of a profile for sRGB may miss sRGB's own."""


def counted_note(number: int, note: str) -> str:
    """How many files a note is of, in words: "1 grey file, repeated over the channels"."""
    return counted(number, note.replace("files", "file", 1), note)


def notes_of(image: Image.Image, data: bytes, *, upright: bool = False) -> tuple[str, ...]:
    """What is to be said of a file.

    Args:
        image: as Pillow opened and loaded it, before any conversion.
        data: the bytes of the file.
        upright: its orientation tag is followed, and needs no word.
    """
    said = [LOSSY[kind]] if (kind := file_kind(data)) else []
    if image.mode in MODES:
        said.append(MODES[image.mode])
    if image.mode in ALPHA or "transparency" in image.info:
        said.append(CLEAR)
    if moves(image):
        said.append(MOVING)
    if not upright and oriented(image):
        said.append(ORIENTED)
    if profiled(image):
        said.append(PROFILED)
    return tuple(said)


def moves(image: Image.Image) -> bool:
    """Whether a file that was opened is an animation. A camera's JPEG with a preview (MPO) is none."""
    return image.format != "MPO" and getattr(image, "n_frames", 1) > 1


def oriented(image: Image.Image) -> bool:
    """Whether a picture carries a tag that asks for it to be turned; a tag that cannot be read asks for nothing."""
    if any(key in image.info for key in TAGS):
        with contextlib.suppress(*DAMAGED):
            return bool(image.getexif().get(ORIENTATION, 1) != 1)
    return False


def profiled(image: Image.Image) -> bool:
    """Whether a file says that its numbers mean other colours than sRGB's: by an ICC profile, else by PNG's gAMA."""
    if profile := image.info.get("icc_profile"):
        return _moves_colours(profile, "L" if image.mode in ("1", "L", "LA") else "RGB")
    gamma = image.info.get("gamma")
    return isinstance(gamma, float) and "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > 0.01


@lru_cache(maxsize=64)
def _moves_colours(profile: bytes, mode: str) -> bool:
    """Whether a profile's colours are others than sRGB's. One that cannot be read, or is of other channels, says
    nothing."""
    shades = itertools.product(STEPS, repeat=3) if mode == "RGB" else ((step,) * 3 for step in STEPS)
    colours = np.array([list(shades)], np.uint8)
    before = Image.fromarray(colours).convert(mode)
    try:
        after = ImageCms.profileToProfile(before, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *DAMAGED):
        return False
    return bool(np.abs(np.asarray(after, np.int16) - colours).max() > SLACK)
