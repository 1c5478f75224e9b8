"""Each step's draws, read ahead of time: this process's part of them, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hdit_repro.ahead import ahead
from hdit_repro.data.images import Indices
from hdit_repro.data.loader import Batch, read_batch
from hdit_repro.data.loader import Source as Source
from hdit_repro.data.order import index_of
from hdit_repro.errors import RunError, UserError
from hdit_repro.spec.run import Run
from hdit_repro.training.transfer import Carrier, Sent

AHEAD = 2
"""Steps read before they are asked for."""
FAR = 1000
"""How many images in a row may be unreadable before the data set is given up."""

Unreadable = Literal["fatal", "skip"]
Share = Callable[[int, int], tuple[int, int]]


class Replaced(NamedTuple):
    """Image `number` could not be read, and `by` was taken in its place."""

    number: int
    by: int
    why: str


class Fed(NamedTuple):
    """This process's part of a step: the step's draws begin at `first` and are `size` over all processes.

    `replaced` are those of this part's images that could not be read.
    """

    first: int
    size: int
    batch: Batch
    replaced: tuple[Replaced, ...] = ()


def feed(
    run: Run,
    images: Source,
    begin: int,
    end: int,
    share: Share | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Generator[Fed, None, None]:
    """The draws of steps `begin` to `end` - 1, in a background thread. Close it to end the thread.

    Args:
        share: from a step's draws (first, count) to this process's part of them; None is all.
        device: where the images are wanted; on a card they are sent ahead, while it computes.

    Raises:
        UserError: an image is damaged; raised where its step was to come.
    """

    carrier = Carrier(device)

    def read(step: int) -> tuple[Fed, Sent]:
        first, count = run.training.batch_at(step)
        mine, number = (first, count) if share is None else share(first, count)
        batch = read_batch(images, mine, number, seed=run.seed, flip=run.data.flip)
        indices = index_of(batch.draws.numpy(), len(images), run.seed)
        replaced = images.replaced(indices) if isinstance(images, Readable) else ()
        return Fed(first, count, batch, replaced), carrier.send(batch)

    with closing(ahead(read, range(begin, end), AHEAD, name="feed")) as parts:
        for fed, sent in parts:
            yield fed._replace(batch=sent.arrived())


class Readable:
    """Images, of which a damaged one is replaced by the next that can be read, with that one's label.

    The replacement follows from the data set alone, so that every process and every restart takes the same: a file
    system that is away or refuses ends the run.
    """

    def __init__(self, images: Source) -> None:
        self.images = images
        self._replaced: dict[int, Replaced] = {}

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Indices) -> Tensor:
        wanted = self._mapped(indices)
        try:
            return self.images.batch(wanted)
        except RunError:
            raise
        except UserError:
            for number in np.unique(wanted).tolist():
                self._look(number)
            return self.images.batch(self._mapped(indices))

    def labels(self, indices: Indices) -> Tensor | None:
        return self.images.labels(self._mapped(indices))

    def replaced(self, indices: Indices) -> tuple[Replaced, ...]:
        """Those of the images that could not be read, once they were asked for; each once, by number."""
        return tuple(self._replaced[number] for number in sorted({int(i) for i in indices} & self._replaced.keys()))

    def _mapped(self, indices: Indices) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        numbers = [int(index) for index in indices]
        return np.array([self._replaced[n].by if n in self._replaced else n for n in numbers], dtype=np.int64)

    def _look(self, number: int) -> None:
        """Read image `number`, and find its replacement if that fails.

        Raises:
            UserError: none of the next ones can be read either.
            RunError: the file system refuses to read one.
        """
        reason: UserError | None = None
        for offset in range(min(FAR, len(self))):
            candidate = (number + offset) % len(self)
            try:
                self.images.batch([candidate])
            except RunError:
                raise
            except UserError as error:
                reason = reason or error
                continue
            if reason is not None:
                self._replaced[number] = Replaced(number, candidate, str(reason.found or reason.problem))
            return
        assert reason is not None
        raise reason


def open_source(images: Source, unreadable: Unreadable) -> Source:
    """The images as they are, where an unreadable one ends the run; or with replacements."""
    return Readable(images) if unreadable == "skip" else images


def cut(fed: Fed, most: int) -> list[Fed]:
    """A step's part in pieces of at most `most` draws, of nearly one size; 0 is one piece."""
    number = len(fed.batch.draws)
    pieces = -(-number // most) if most else 1
    edges = [piece * number // pieces for piece in range(pieces + 1)]
    return [_piece(fed, a, b) for a, b in pairwise(edges)]


def _piece(fed: Fed, begin: int, end: int) -> Fed:
    at = slice(begin, end)
    labels = None if fed.batch.labels is None else fed.batch.labels[at]
    return fed._replace(batch=Batch(fed.batch.draws[at], fed.batch.images[at], labels))


def whole(fed: Fed) -> bool:
    """Whether the part is all of the step."""
    return len(fed.batch.draws) == fed.size


def image_numbers(run: Run, first: int, count: int, size: int) -> list[int]:
    """The numbers of the images of draws `first` to `first + count - 1`, of a data set of `size`."""
    return [int(number) for number in index_of(np.arange(first, first + count), size, run.seed)]
