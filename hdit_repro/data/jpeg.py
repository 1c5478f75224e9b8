"""Traces of JPEG in what should be lossless: steps at every eighth pixel, where the coder's blocks meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BLOCK = 8
FRAME = 16
"""Bytes of an animated WebP's frame before its own chunks."""

SMALLEST = 48
"""Side in pixels below which there are too few blocks to tell."""

TRACE = 4.5
"""`blockiness` above this is taken for a trace. Untouched pictures stay below it; quality 50 gives 5 to 50, and
quality 90 often leaves nothing to see, so a set is judged by its share of traces, and none is no proof."""

SHARE = 0.2
"""A set of which more than this share shows traces has been through JPEG."""

JPEG_MAGIC = b"\xff\xd8\xff"


def file_kind(data: bytes) -> str:
    """JPEG or WebP of a lossy file, by its bytes, whatever its name says; else empty.

    A WebP's pictures lie in chunks of their own, "VP8 " where they are lossy and "VP8L" where they are not; the frames
    of an animation hold such chunks.
    """
    if data.startswith(JPEG_MAGIC):
        return "JPEG"
    return "WebP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and _lossy(data) else ""


def _lossy(data: bytes) -> bool:
    """Whether a lossy picture is among a WebP's chunks."""
    place = 12
    while place < len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"VP8 ":
            return True
        place += 8 + (FRAME if name == b"ANMF" else size + size % 2)
    return False


def blockiness(image: Image.Image) -> float:
    """How much the pixels step where 8 x 8 blocks would meet, against the other seven places, in standard errors.

    At every place of the eight, the mean of |second difference across the place| is taken over both axes; what a place
    has more than the median of all, over the spread of the others, is its score; the largest of the eight counts, so
    that a crop by any offset is seen. About 1 to 2 without blocks; 0 for images that are too small or flat.
    """
    grey = np.asarray(image.convert("L"), np.float64)
    if min(grey.shape) < SMALLEST:
        return 0.0
    return max(_score(grey), _score(grey.T))


def _score(grey: NDArray[np.float64]) -> float:
    """Along the columns. A step at a block's edge is measured against the slopes on both of its sides."""
    slope = np.abs(np.diff(grey, axis=1))
    step = np.clip(slope[:, 1:-1] - (slope[:, :-2] + slope[:, 2:]) / 2, -16.0, 16.0).mean(axis=0)
    columns = [step[place::BLOCK] for place in range(BLOCK)]
    places = np.array([column.mean() for column in columns])
    errors = np.array([column.std() / np.sqrt(len(column)) for column in columns])
    worst = int(np.argmax(places))
    others = np.delete(places, worst)
    spread = np.hypot(errors[worst], float(np.delete(errors, worst).mean()))
    return float((places[worst] - np.median(others)) / max(float(spread), 1e-3))
