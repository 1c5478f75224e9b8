"""Preparing data sets: the same bytes whatever the workers and the kills, and a report of every refused file."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from hdit_repro.data.card import read_card
from hdit_repro.data.notes import ORIENTATION
from hdit_repro.data.prepare import prepare
from hdit_repro.data.sources import open_source
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.data.transforms import TRANSFORMS
from hdit_repro.errors import UserError


def test_the_archive_holds_what_the_transform_makes(tmp_path, plain):
    root = plain(tmp_path / "set")
    for transform in ("adm", "k-diffusion"):
        card = prepare(open_store(root), tmp_path / f"{transform}.zip", 16, transform)
        store = ZipStore(tmp_path / f"{transform}.zip")
        source = open_store(root)
        for index in range(6):
            np.testing.assert_array_equal(store.image(index), TRANSFORMS[transform](source.image(index), 16))
        assert store.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert store.label_names == ("n01", "n02")
        assert (card.images, card.classes, card.transform, card.resolution) == (6, 2, transform, 16)
        assert store.digests == {
            name: hashlib.sha256(store.bytes_of(i)).hexdigest() for i, name in enumerate(store.names)
        }
        with zipfile.ZipFile(store.path) as file:
            assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
            assert file.testzip() is None


def test_a_short_side_below_the_resolution_counts_as_enlarged(tmp_path):
    (tmp_path / "set").mkdir()
    for width, height in ((8, 40), (40, 8), (16, 40), (16, 16)):
        Image.new("RGB", (width, height)).save(tmp_path / "set" / f"{width}x{height}.png")
    assert prepare(open_store(tmp_path / "set"), tmp_path / "set.zip", 16, "adm").enlarged == 2


def test_a_source_of_refused_files_only_leaves_nothing(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    (root / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="no image is left"):
        prepare(open_store(root), tmp_path / "out" / "set.zip", 16, "adm")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_strip_and_a_bomb_are_refused_before_they_fill_the_memory(tmp_path, plain):
    root = plain(tmp_path / "set", ("a",), each=1)
    Image.new("L", (1, 30_000)).save(root / "a" / "strip.png")
    Image.new("1", (20_000, 20_000)).save(root / "a" / "bomb.png")
    card = prepare(open_store(root), tmp_path / "set.zip", 256, "adm")
    assert {file: reason.split(":")[0] for file, reason in card.refused} == {
        "a/bomb.png": "an image has an absurd size",
        "a/strip.png": "an image is too long for its width",
    }


def test_upright_and_cmyk_are_options(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(pixels).save(root / "turned.png", exif=exif)
    as_stored = prepare(open_source(root, "folder"), tmp_path / "stored.zip", 20, "none")
    turned = prepare(open_source(root, "folder", upright=True), tmp_path / "turned.zip", 20, "none")
    assert (as_stored.oriented, as_stored.upright, turned.oriented, turned.upright) == (1, False, 0, True)
    np.testing.assert_array_equal(ZipStore(tmp_path / "stored.zip").image(0), pixels)
    np.testing.assert_array_equal(ZipStore(tmp_path / "turned.zip").image(0), pixels[::-1])
    Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(root / "cyan.jpg")
    assert prepare(open_source(root, "folder"), tmp_path / "a.zip", 20, "none").images == 1
    assert prepare(open_source(root, "folder", cmyk=True), tmp_path / "b.zip", 20, "none").images == 2


def test_tags_that_cannot_be_read_end_no_preparation(tmp_path, plain):
    root = plain(tmp_path / "set", ("a",), each=1)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    assert data.count(b"Exif\0\0MM") == 1
    (root / "a" / "tags.jpg").write_bytes(data.replace(b"Exif\0\0MM", b"Exif\0\0\xffM"))
    card = prepare(open_store(root), tmp_path / "set.zip", 16, "adm")
    assert (card.images, card.oriented, card.refused) == (2, 0, [])


def test_a_bystander_of_another_encoding_ends_no_preparation(tmp_path, plain):
    root = plain(tmp_path / "set", ("a",), each=1)
    (root / "a" / os.fsdecode(b"caf\xe9.txt")).write_text("read me")
    card = prepare(open_store(root), tmp_path / "set.zip", 16, "adm")
    assert (card.images, [name for name, _ in card.refused]) == (1, [r"a/caf\xe9.txt"])
    assert read_card(tmp_path / "set.zip") == card
