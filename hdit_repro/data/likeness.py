"""Images that come twice: the same pixels, or almost the same picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 8
NEAR_BITS = 3
"""Difference hashes (64 bits) of near duplicates differ in at most so many places."""

NEAR_PIXELS = 6.0
"""And their 16 x 16 grey thumbnails by at most so many levels of 255 on average: flat pictures all hash alike."""

BANDS = 4
CROWD = 1000
"""Hashes that share 16 bits are compared pairwise in portions of this many, sorted, so that work stays bounded."""

MOST = 1000
"""Pairs that are looked for."""


class Pair(NamedTuple):
    """Two image numbers, the first below the second."""

    first: int
    second: int


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each pixel of a 9 x 8 grey thumbnail is brighter than its left neighbour."""
    small = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def thumbnail(image: Image.Image) -> NDArray[np.float64]:
    """16 x 16 grey levels, 0 to 255."""
    return np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float64)


def near_pairs(hashes: NDArray[np.uint64], look: Callable[[int], Image.Image]) -> list[Pair]:
    """Pairs of images that look almost the same, each image with one earlier one, at most `MOST`.

    Hashes within three bits share at least one of their four 16-bit parts, so only those that do are compared.

    Args:
        hashes: `difference_hash` of each image.
        look: an image by number, for the thumbnails that settle it.
    """
    found: dict[int, int] = {}
    kept: dict[int, NDArray[np.float64]] = {}

    def small(index: int) -> NDArray[np.float64]:
        if index not in kept:
            if len(kept) > CROWD:
                kept.clear()
            kept[index] = thumbnail(look(index))
        return kept[index]

    for first, second in _candidates(hashes):
        if second in found or len(found) >= MOST:
            continue
        if float(np.abs(small(first) - small(second)).mean()) <= NEAR_PIXELS:
            found[second] = first
    return sorted(Pair(first, second) for second, first in found.items())


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[Pair]:
    """Pairs of numbers whose hashes differ in at most NEAR_BITS places; a pair may come more than once."""
    for band in range(BANDS):
        part = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes, part))
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for group in np.split(order, edges):
            for start in range(0, len(group), CROWD):
                yield from _close(np.sort(group[start : start + CROWD]), hashes)


def _close(group: NDArray[np.int64], hashes: NDArray[np.uint64]) -> Iterator[Pair]:
    for place in range(len(group) - 1):
        apart = np.bitwise_xor(hashes[group[place]], hashes[group[place + 1 :]])
        bits = np.unpackbits(apart.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
        for other in np.flatnonzero(bits <= NEAR_BITS):
            yield Pair(int(group[place]), int(group[place + 1 + other]))
