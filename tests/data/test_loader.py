"""A step's draws: the same however they are split, each mirrored by its number."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hdit_repro.data.datasets import emoji_path, open_dataset
from hdit_repro.data.images import Images
from hdit_repro.data.loader import read_batch
from hdit_repro.data.order import flips, index_of
from hdit_repro.data.store import open_store
from hdit_repro.spec.data import Data, Emoji


@pytest.fixture(scope="module")
def images():
    return open_dataset(Data(dataset=Emoji(), resolution=16))


def test_draws_images_and_labels_belong_together(images):
    batch = read_batch(images, 3770, 20, seed=5)
    numbers = index_of(range(3770, 3790), 3781, 5)
    assert batch.draws.tolist() == list(range(3770, 3790))
    assert torch.equal(batch.images, images.batch(numbers))
    assert torch.equal(batch.labels, images.labels(numbers))


def test_any_split_gives_the_same(images):
    whole = read_batch(images, 0, 48, seed=1, flip=True)
    parts = [read_batch(images, first, count, seed=1, flip=True) for first, count in ((0, 16), (16, 1), (17, 31))]
    for name in ("draws", "images", "labels"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


def test_mirroring_is_by_draw(images):
    plain = read_batch(images, 0, 64, seed=2)
    mirrored = read_batch(images, 0, 64, seed=2, flip=True)
    for k, flipped in enumerate(flips(np.arange(64), 2)):
        wanted = plain.images[k].flip(2) if flipped else plain.images[k]
        assert torch.equal(mirrored.images[k], wanted)


def _read(images, out):
    out.put(images.batch([3, 1]).tolist())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_decodes_with_threads_of_its_own():
    """Those of its parent are not there: it would wait for them for ever."""
    fresh = Images(open_store(emoji_path()), 16, "k-diffusion", cache=False)
    fresh.decoders = 1  # of a larger pool a new thread may come to the child's help
    wanted = fresh.batch([3, 1]).tolist()
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    worker = context.Process(target=_read, args=(fresh, out))
    worker.start()
    worker.join(60)
    alive = worker.is_alive()
    worker.kill()
    assert not alive
    assert out.get() == wanted


def test_threads_that_begin_together_keep_what_each_decoded(monkeypatch):
    """The first makes room for all images; another one comes in meanwhile."""
    images = Images(open_store(emoji_path()), 16, "k-diffusion")
    wanted = Images(open_store(emoji_path()), 16, "k-diffusion", cache=False).batch([0, 1])
    zeros = np.zeros

    def interrupted(*arguments, **more):
        monkeypatch.setattr(np, "zeros", zeros)
        with ThreadPoolExecutor(1) as other:
            other.submit(images.batch, [1]).result()
        return zeros(*arguments, **more)

    monkeypatch.setattr(np, "zeros", interrupted)
    images.batch([0])
    assert torch.equal(images.batch([0, 1]), wanted)
