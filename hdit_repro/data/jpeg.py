"""Traces of JPEG in what should be lossless: steps at every eighth pixel, where the coder's blocks meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BLOCK = 8
SMALLEST = 48
"""Side in pixels below which there are too few blocks to tell."""

TRACE = 4.0
"""`blockiness` above this is taken for a trace. Untouched pictures stay below it; quality 75 mostly gives 3 to 6, quality
90 and more often leaves nothing to see, so a set is judged by its share of traces, and none is no proof."""

SHARE = 0.1
"""A set of which more than this share shows traces has been through JPEG."""

MAGIC = {b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP"}


def file_kind(data: bytes) -> str:
    """JPEG or WebP, by a file's first bytes, whatever its name says; else empty."""
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")


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
    slope = np.diff(grey, axis=1)
    step = np.abs(slope[:, 1:-1] - (slope[:, :-2] + slope[:, 2:]) / 2)
    column = np.minimum(step, 32.0).mean(axis=0)
    places = np.array([column[place::BLOCK].mean() for place in range(BLOCK)])
    worst = int(np.argmax(places))
    others = np.delete(places, worst)
    noise = np.array([column[place::BLOCK].std() / np.sqrt(len(column[place::BLOCK])) for place in range(BLOCK)])
    spread = max(float(np.delete(noise, worst).mean()), float(others.std()), 1e-3)
    return float((places[worst] - np.median(others)) / spread)
