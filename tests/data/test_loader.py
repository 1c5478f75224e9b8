"""Batches ahead of time: the same whatever the split, the depth of reading ahead, or the restart."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch

from hdit_repro.data.datasets import open_dataset
from hdit_repro.data.loader import batches
from hdit_repro.data.order import flips, index_of
from hdit_repro.errors import UserError
from hdit_repro.spec.data import Data, Emoji


@pytest.fixture(scope="module")
def images():
    return open_dataset(Data(dataset=Emoji(), resolution=16))


def together(parts):
    parts = list(parts)
    return [torch.cat([getattr(part, name) for part in parts]) for name in ("draws", "images", "labels")]


def test_draws_images_and_labels_belong_together(images):
    batch = next(batches(images, [(3770, 20)], seed=5))
    numbers = index_of(range(3770, 3790), 3781, 5)
    assert batch.draws.tolist() == list(range(3770, 3790))
    assert torch.equal(batch.images, images.batch(numbers))
    assert torch.equal(batch.labels, images.labels(numbers))


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_any_split_gives_the_same(images, ahead):
    whole = together(batches(images, [(0, 48)], seed=1, flip=True, ahead=0))
    cut = together(batches(images, [(0, 16), (16, 1), (17, 31)], seed=1, flip=True, ahead=ahead))
    resumed = together(batches(images, [(16, 1), (17, 31)], seed=1, flip=True, ahead=ahead))
    for a, b, c in zip(whole, cut, resumed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a[16:], c)


def test_mirroring_is_by_draw(images):
    plain = next(batches(images, [(0, 64)], seed=2))
    mirrored = next(batches(images, [(0, 64)], seed=2, flip=True))
    for k, flipped in enumerate(flips(np.arange(64), 2)):
        wanted = plain.images[k].flip(2) if flipped else plain.images[k]
        assert torch.equal(mirrored.images[k], wanted)


def test_an_endless_range_is_read_as_far_as_needed(images):
    asked = []

    def ranges():
        for step in itertools.count():
            asked.append(step)
            yield step * 4, 4

    before = threading.active_count()
    reader = batches(images, ranges(), seed=0, ahead=2)
    for _ in range(3):
        next(reader)
    assert asked == list(range(5))
    reader.close()
    assert threading.active_count() <= before + 8  # the data set's own decoders stay, the reader's thread does not
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


class Broken:
    """A data set whose image 3 is damaged."""

    def __len__(self) -> int:
        return 8

    def batch(self, indices):
        if 3 in indices:
            raise UserError("an image is damaged", found="img3.png")
        return torch.zeros(len(indices), 3, 2, 2, dtype=torch.uint8)

    def labels(self, indices):
        return None


def test_an_error_comes_where_its_batch_was_to_come():
    place = index_of(range(8), 8, 0).tolist().index(3)
    reader = batches(Broken(), [(k, 1) for k in range(8)], seed=0)
    for _ in range(place):
        assert next(reader).labels is None
    with pytest.raises(UserError, match="damaged"):
        next(reader)
