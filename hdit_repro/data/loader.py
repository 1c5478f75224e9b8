"""Training batches ahead of time. There is no state to save: a draw's number says which image it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hdit_repro.data.images import Images
from hdit_repro.data.order import flips, index_of


class Batch(NamedTuple):
    """Consecutive draws: their numbers (int64 B), images (uint8 B 3 H W), and labels (int64 B, or None)."""

    draws: Tensor
    images: Tensor
    labels: Tensor | None


def batches(
    images: Images, ranges: Iterable[tuple[int, int]], *, seed: int, flip: bool = False, ahead: int = 2
) -> Iterator[Batch]:
    """A batch for each (first draw, count) of `ranges`, in their order, read in background threads.

    To go on after a restart, start `ranges` at the next draw. A process of several takes its own part of each step's
    draws. Threads end when the iterator is exhausted or closed.

    Args:
        images: the data set.
        ranges: which draws; may be endless, and is read `ahead` batches before they are asked for.
        seed: of the run: the order of the epochs, and the mirroring.
        flip: mirror half of the draws, by `order.flips`.
        ahead: batches read before they are asked for; 0 reads in the caller's thread.

    Raises:
        UserError: an image is damaged; raised where its batch was to come.
    """
    if ahead < 1:
        for first, count in ranges:
            yield read_batch(images, first, count, seed=seed, flip=flip)
        return
    waiting = iter(ranges)
    pending: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:

        def ask(number: int) -> None:
            for first, count in islice(waiting, number):
                pending.append(pool.submit(read_batch, images, first, count, seed=seed, flip=flip))

        try:
            ask(ahead)
            while pending:
                batch = pending.popleft().result()
                ask(1)
                yield batch
        finally:
            for future in pending:
                future.cancel()


def read_batch(images: Images, first: int, count: int, *, seed: int, flip: bool = False) -> Batch:
    """Draws `first` ... `first + count - 1`."""
    draws = np.arange(first, first + count, dtype=np.int64)
    indices = index_of(draws, len(images), seed)
    pixels = images.batch(indices)
    if flip:
        mirrored = torch.from_numpy(flips(draws, seed))
        pixels[mirrored] = pixels[mirrored].flip(-1)
    return Batch(torch.from_numpy(draws), pixels, images.labels(indices))
