"""The data sets by name: where they are looked for, and what is refused."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from hdit_repro.data import datasets, places
from hdit_repro.data.datasets import EMOJI_DIGEST, OPENERS, open_dataset
from hdit_repro.data.images import Images
from hdit_repro.data.prepare import prepare
from hdit_repro.data.sources import SOURCES
from hdit_repro.data.store import open_store
from hdit_repro.data.verify import verify
from hdit_repro.errors import UserError
from hdit_repro.spec.base import kinds
from hdit_repro.spec.data import DATASETS, FFHQ, Data, Dataset, DatasetFacts, Emoji, ImageNet


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()


def emoji(resolution=64, transform="k-diffusion") -> Images:
    return open_dataset(Data(dataset=Emoji(), resolution=resolution, transform=transform))


def source(root, classes=2, each=3, size=(20, 24)):
    rng = np.random.default_rng(5)
    for c in range(classes):
        for i in range(each):
            (root / f"n{c:02d}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"n{c:02d}" / f"{i}.png")
    return root


def test_registry_is_the_specs():
    assert set(OPENERS) == set(kinds(Dataset)) == {*DATASETS, "folder"}
    assert set(SOURCES) == set(OPENERS) - {"emoji"}, "what is looked for must be what `data prepare --dataset` makes"


def test_emoji():
    images = emoji()
    assert len(images) == 3781
    assert images.classes == 9
    assert images.digest == EMOJI_DIGEST
    batch = images.batch([3780, 0, 0])
    assert batch.dtype == torch.uint8
    assert batch.shape == (3, 3, 64, 64)
    assert torch.equal(batch[1], batch[2])
    labels = images.labels(range(3781))
    assert labels.dtype == torch.int64
    assert torch.bincount(labels).tolist() == [85, 159, 270, 131, 264, 2261, 169, 224, 218]


def test_cached_and_not_are_equal():
    numbers = np.array([5, 17, 5, 3000])
    for resolution, transform in ((32, "adm"), (32, "k-diffusion"), (64, "none"), (16, "adm")):
        kept = emoji(resolution, transform)
        read = Images(kept.store, resolution, transform, cache=False)
        first = kept.batch(numbers)
        assert first.shape == (4, 3, resolution, resolution)
        assert torch.equal(first, read.batch(torch.from_numpy(numbers)))
        assert torch.equal(first, kept.batch(numbers.tolist()))


def test_what_comes_out_is_not_the_cache():
    images = emoji()
    first = images.batch([7])
    wanted = first.clone()
    first.zero_()
    assert torch.equal(images.batch([7]), wanted)


def test_numbers_outside_and_pickling():
    images = emoji()
    for bad in ([-1], [3781]):
        with pytest.raises(IndexError, match="0 to 3780"):
            images.batch(bad)
        with pytest.raises(IndexError):
            images.labels(bad)
    assert images.batch([]).shape == (0, 3, 64, 64)
    copy = pickle.loads(pickle.dumps(images))
    assert torch.equal(copy.batch([9]), images.batch([9]))


def test_a_damaged_emoji_archive_is_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "emoji.zip"
    data = bytearray(datasets.emoji_path().read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(datasets, "emoji_path", lambda: damaged)
    with pytest.raises(UserError, match="missing or damaged"):
        emoji()


@pytest.mark.parametrize("dataset", [ImageNet(), FFHQ()])
def test_a_missing_data_set_says_where_it_was_looked_for(dataset, tmp_path, monkeypatch):
    data = Data(dataset=dataset, resolution=128, transform="adm")
    name = type(dataset).__name__.lower()
    with pytest.raises(UserError) as caught:
        open_dataset(data)
    for place in (f"{name}-128.zip", f"{name}.zip", str(tmp_path / "data")):
        assert place in str(caught.value)
    assert caught.value.fix.endswith(f"--resolution 128 --transform adm --dataset {name}")
    assert caught.value.exit_code == 2
    monkeypatch.delenv("HDIT_REPRO_DATA")
    with pytest.raises(UserError, match="HDIT_REPRO_DATA is not set"):
        open_dataset(data)


def test_a_part_is_not_the_whole(tmp_path):
    source(tmp_path / "data" / "imagenet")
    with pytest.raises(UserError, match="1,281,167 images, 1000 classes"):
        open_dataset(Data(dataset=ImageNet(), resolution=16))


def test_folder_and_prepared_archive_agree(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet", DatasetFacts(6, 2, 0))
    data = Data(dataset=ImageNet(), resolution=16, transform="adm")
    root = source(tmp_path / "data" / "imagenet")
    from_folder = open_dataset(data)
    assert from_folder.store.path == root
    seen = []
    target = tmp_path / "data" / "imagenet-16.zip"
    prepare(open_store(root), target, 16, "adm", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6)]
    prepared = open_dataset(data)
    assert prepared.store.path == target
    assert torch.equal(prepared.batch(range(6)), from_folder.batch(range(6)))
    assert torch.equal(prepared.labels(range(6)), from_folder.labels(range(6)))
    assert prepared.store.label_names == ("n00", "n01")
    with pytest.raises(UserError, match="prepared in another way"):
        open_dataset(Data(dataset=ImageNet(), resolution=16, transform="k-diffusion"))
    shutil.copy(target, tmp_path / "data" / "imagenet.zip")  # found for every resolution
    for transform in ("adm", "none"):
        with pytest.raises(UserError, match="prepared in another way"):
            open_dataset(Data(dataset=ImageNet(), resolution=8, transform=transform))
    prepare(open_store(root), tmp_path / "again.zip", 16, "adm")
    assert (tmp_path / "again.zip").read_bytes() == target.read_bytes()


def test_ffhq_has_no_labels(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "ffhq", DatasetFacts(6, 0, 1024))
    source(tmp_path / "data" / "ffhq")
    images = open_dataset(Data(dataset=FFHQ(), resolution=16))
    assert images.labels([0]) is None
    assert images.classes == 0


def test_a_broken_image_is_refused_by_name(tmp_path):
    root = source(tmp_path / "set")
    (root / "n01" / "1.png").write_bytes(b"no image")
    store = open_store(root)
    card = prepare(store, tmp_path / "out.zip", 16, "adm")
    assert [file for file, _ in card.refused] == ["n01/1.png"]
    broken = [finding for finding in verify(store).findings if finding.wrong]
    assert [(finding.check, finding.where) for finding in broken] == [("broken", "n01/1.png")]
    for taken in (tmp_path / "set", tmp_path / "out.tar", tmp_path / "out.zip"):
        with pytest.raises(UserError, match="cannot be written there"):
            prepare(store, taken, 16, "adm")


def test_the_wrong_size_names_the_image(tmp_path):
    root = source(tmp_path / "set")
    images = Images(open_store(root), 16, "none")
    with pytest.raises(UserError, match=r"n00/2\.png"):
        images.batch([2])
    with pytest.raises(UserError, match="no transform called"):
        Images(open_store(root), 16, "bilinear")


def test_a_folder_of_ones_own_is_found_by_its_digest(tmp_path, monkeypatch):
    root = source(tmp_path / "mine")
    dataset = places.describe(root)
    assert (dataset.name, dataset.images, dataset.classes) == ("mine", 6, 2)
    data = Data(dataset=dataset, resolution=16, transform="adm")
    with pytest.raises(UserError, match="not here as it was"):
        open_dataset(data)
    places.remember(dataset, root)
    images = open_dataset(data)
    assert images.name == "mine"
    assert images.digest == dataset.digest
    assert images.labels(range(6)).tolist() == [0, 0, 0, 1, 1, 1]
    batch = images.batch(range(6))
    moved = tmp_path / "data" / "mine"
    root.rename(moved)  # found under $HDIT_REPRO_DATA by its name
    assert torch.equal(open_dataset(data).batch(range(6)), batch)
    assert places.describe(moved) == dataset  # where it lies is no part of what it is
    (moved / "n00" / "0.png").write_bytes((moved / "n01" / "0.png").read_bytes())
    with pytest.raises(UserError, match="has the digest"):
        open_dataset(data)


def test_a_prepared_archive_is_a_data_set_of_its_own(tmp_path):
    """Its images may be brought to another size: the archive is the data set, not what it was made of."""
    prepare(open_store(source(tmp_path / "set")), tmp_path / "set.zip", 16, "k-diffusion")
    dataset = places.describe(tmp_path / "set.zip")
    places.remember(dataset, tmp_path / "set.zip")
    assert dataset.name == "set"
    assert open_dataset(Data(dataset=dataset, resolution=8, transform="adm")).batch([0]).shape == (1, 3, 8, 8)
