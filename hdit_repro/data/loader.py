"""A step's draws as tensors. There is no state to save: a draw's number says which image it is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hdit_repro.data.images import Indices
from hdit_repro.data.order import flips, index_of


class Source(Protocol):
    """Images by number, as `data.images.Images` gives them."""

    def __len__(self) -> int: ...

    def batch(self, indices: Indices) -> Tensor: ...

    def labels(self, indices: Indices) -> Tensor | None: ...


class Batch(NamedTuple):
    """Consecutive draws: their numbers (int64 B), images (uint8 B 3 H W), and labels (int64 B, or None)."""

    draws: Tensor
    images: Tensor
    labels: Tensor | None


def read_batch(images: Source, first: int, count: int, *, seed: int, flip: bool = False) -> Batch:
    """Draws `first` ... `first + count - 1`.

    Args:
        images: the data set.
        first, count: which draws.
        seed: of the run: the order of the epochs, and the mirroring.
        flip: mirror half of the draws, by `order.flips`.

    Raises:
        UserError: an image is damaged.
    """
    draws = np.arange(first, first + count, dtype=np.int64)
    indices = index_of(draws, len(images), seed)
    pixels = images.batch(indices)
    if flip:
        mirrored = torch.from_numpy(flips(draws, seed))
        pixels[mirrored] = pixels[mirrored].flip(-1)
    return Batch(torch.from_numpy(draws), pixels, images.labels(indices))
