"""Preparing data sets: the same bytes whatever the workers and the kills, and a report of every refused file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdit_repro.data import journal as journal_module
from hdit_repro.data import prepare as prepare_module
from hdit_repro.data.card import card_path, read_card
from hdit_repro.data.decode import ORIENTATION
from hdit_repro.data.prepare import prepare
from hdit_repro.data.sources import SOURCES, open_source
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.data.transforms import TRANSFORMS
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock
from hdit_repro.spec.data import DATASETS, DatasetFacts

FORMATS = 14


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))


def picture(rng, mode: str, width: int, height: int) -> Image.Image:
    """Smooth noise, so that JPEG and PNG both stay small."""
    small = rng.integers(0, 256, (max(1, height // 6), max(1, width // 6), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def assorted(root: Path, count: int) -> set[str]:
    """`count` files of all kinds; returns the names of those that must be refused."""
    rng = np.random.default_rng(11)
    refused = set()
    for i in range(count):
        width, height = (int(side) for side in rng.integers(20, 90, 2))
        folder = root / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        name, save = f"{i:05d}", {}
        mode, suffix = [
            ("RGB", "jpg"), ("RGB", "png"), ("RGB", "webp"), ("L", "png"), ("P", "png"), ("RGBA", "png"),
            ("CMYK", "jpg"), ("RGB", "jpg"), ("RGB", "png"), ("RGB", "jpg"), ("RGB", "png"), ("RGB", "png"),
            ("1", "png"), ("I;16", "png"),
        ][i % FORMATS]  # fmt: skip
        case = i % FORMATS
        if case == 7:
            exif = Image.Exif()
            exif[ORIENTATION] = 6
            save = {"exif": exif}
        if case == 8:
            width, height = 3, 2
        if case == 9 and i < 2 * FORMATS:
            width, height = 900, 700
        path = folder / f"{name}.{suffix}"
        image = picture(rng, "L" if mode == "I;16" else mode, width, height)
        (image.convert("I;16") if mode == "I;16" else image).save(path, **save)
        if case == 10:
            path.write_bytes(path.read_bytes()[:-60])
        if case == 11:
            path.write_bytes(b"this is no image at all")
        if case in (6, 10, 11, 13):
            refused.add(path.relative_to(root).as_posix())
    (root / "class0" / "notes.txt").write_text("read me")
    return refused | {"class0/notes.txt"}


RUN = """
import sys
from pathlib import Path
from hdit_repro.data import prepare as module
from hdit_repro.data.store import open_store
module.COMMIT = 8
module.prepare(open_store(sys.argv[1]), Path(sys.argv[2]), 24, "adm", workers=int(sys.argv[3]))
"""


def start(source: Path, target: Path, workers: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", RUN, str(source), str(target), str(workers)], env=environment)


def killed_in_the_middle(source: Path, target: Path, lines: int) -> None:
    """Start preparing and kill it as soon as the journal has so many lines."""
    journal = journal_module.paths(target)[1]
    process = start(source, target, 2)
    try:
        while process.poll() is None:
            if journal.exists() and journal.read_text().count("\n") > lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert journal.exists(), "it ended before it could be killed"
    assert not target.exists()


def check_workers_and_kills(tmp_path: Path, count: int) -> None:
    source = tmp_path / "source"
    refused = assorted(source, count)
    archives = []
    for workers in (1, 2):
        target = tmp_path / f"w{workers}" / "set.zip"
        assert start(source, target, workers).wait() == 0
        archives.append(target)
    killed = tmp_path / "killed" / "set.zip"
    killed.parent.mkdir()
    killed_in_the_middle(source, killed, 3)
    half = journal_module._read(journal_module.paths(killed)[1], {})
    assert half == []  # of another plan: nothing is taken from it
    assert start(source, killed, 1).wait() == 0
    archives.append(killed)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}) == 1
    assert len({card_path(path).read_bytes() for path in archives}) == 1
    card = read_card(killed)
    assert {file for file, _ in card.refused} == refused
    assert all(reason for _, reason in card.refused)
    assert card.images == count + 1 - len(refused)
    assert card.sha256 == hashlib.sha256(killed.read_bytes()).hexdigest()
    assert card.enlarged > 0
    assert card.oriented > 0
    assert sorted(path.name for path in killed.parent.iterdir()) == ["set.card.json", "set.zip"]


def test_workers_and_kills_leave_the_same_bytes(tmp_path):
    check_workers_and_kills(tmp_path, 210)


@pytest.mark.long
def test_three_thousand_images_with_workers_and_kills(tmp_path):
    check_workers_and_kills(tmp_path, 3000)


def plain(root: Path, classes=("n01", "n02"), each=3, size=(20, 24), suffix="png") -> Path:
    rng = np.random.default_rng(5)
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{i}.{suffix}")
    return root


def test_the_archive_holds_what_the_transform_makes(tmp_path):
    root = plain(tmp_path / "set")
    for transform in ("adm", "k-diffusion"):
        card = prepare(open_store(root), tmp_path / f"{transform}.zip", 16, transform)
        store = ZipStore(tmp_path / f"{transform}.zip")
        source = open_store(root)
        for index in range(6):
            np.testing.assert_array_equal(store.read(index), TRANSFORMS[transform](source.image(index), 16))
        assert store.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert store.label_names == ("n01", "n02")
        assert (card.images, card.classes, card.transform, card.resolution) == (6, 2, transform, 16)
        assert store.digests == {
            name: hashlib.sha256(store.bytes_of(i)).hexdigest() for i, name in enumerate(store.names)
        }
        with zipfile.ZipFile(store.path) as file:
            assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
            assert file.testzip() is None


def test_a_torn_journal_and_a_lost_tail_are_survived(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "COMMIT", 2)
    root = plain(tmp_path / "set", each=4)
    whole = tmp_path / "whole.zip"
    prepare(open_store(root), whole, 16, "adm")

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 4:
            raise Stop

    target = tmp_path / "torn.zip"
    partial, journal = journal_module.paths(target)
    with pytest.raises(Stop):
        prepare(open_store(root), target, 16, "adm", progress=stop)
    with open(journal, "a") as file:
        file.write('[6, 99, [[4, "ab')  # a line cut off by a crash
    with open(partial, "ab") as file:
        file.write(b"what no journal knows of")
    seen = []
    prepare(open_store(root), target, 16, "adm", progress=lambda done, total: seen.append(done))
    assert seen == [6, 8]  # the first four were not made again
    assert target.read_bytes() == whole.read_bytes()

    other = tmp_path / "other.zip"
    with pytest.raises(Stop):
        prepare(open_store(root), other, 16, "adm", progress=stop)
    prepare(open_store(root), other, 16, "k-diffusion")  # another plan starts afresh
    assert ZipStore(other).facts["transform"] == "k-diffusion"
    cut = tmp_path / "cut.zip"
    with pytest.raises(Stop):
        prepare(open_store(root), cut, 16, "adm", progress=stop)
    os.truncate(journal_module.paths(cut)[0], 100)  # the archive lost what the journal says is there
    prepare(open_store(root), cut, 16, "adm")
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["an image", "--cmyk", "--upright", "Pillow"])
def test_what_was_interrupted_goes_on_with_nothing_of_another_kind(tmp_path, monkeypatch, change):
    """Another source, option or library starts afresh: no archive is half the one, half the other."""
    root = plain(tmp_path / "set", ("a",), each=6)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(root / "a" / "0.jpg")
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(root / "a" / "1.png", exif=exif)
    options = {"cmyk": change == "--cmyk", "upright": change == "--upright"}
    monkeypatch.setattr(prepare_module, "COMMIT", 2)

    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        prepare(open_source(root, "folder"), tmp_path / "set.zip", 10, "adm", progress=stop)
    if change == "an image":
        Image.new("RGB", (10, 10), "red").save(root / "a" / "1.png")
    if change == "Pillow":
        monkeypatch.setattr(prepare_module, "versions", lambda: {"pillow": "another"})
    seen = []
    prepare(
        open_source(root, "folder", **options),
        tmp_path / "set.zip",
        10,
        "adm",
        progress=lambda done, total: seen.append(done),
    )
    prepare(open_source(root, "folder", **options), tmp_path / "fresh.zip", 10, "adm")
    assert seen[0] == 2  # the first two were made again
    assert (tmp_path / "set.zip").read_bytes() == (tmp_path / "fresh.zip").read_bytes()


def test_a_short_side_below_the_resolution_counts_as_enlarged(tmp_path):
    (tmp_path / "set").mkdir()
    for width, height in ((8, 40), (40, 8), (16, 40), (16, 16)):
        Image.new("RGB", (width, height)).save(tmp_path / "set" / f"{width}x{height}.png")
    assert prepare(open_store(tmp_path / "set"), tmp_path / "set.zip", 16, "adm").enlarged == 2


def test_two_processes_do_not_prepare_one_archive(tmp_path):
    root = plain(tmp_path / "set")
    target = tmp_path / "set.zip"
    with lock(journal_module.paths(target)[1]), pytest.raises(RunError, match="another process"):
        prepare(open_store(root), target, 16, "adm")
    prepare(open_store(root), target, 16, "adm")
    with pytest.raises(UserError, match="cannot be written there"):
        prepare(open_store(root), target, 16, "adm")


def test_a_source_of_refused_files_only_leaves_nothing(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    (root / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="no image is left"):
        prepare(open_store(root), tmp_path / "out" / "set.zip", 16, "adm")
    assert list((tmp_path / "out").iterdir()) == []


def tar_of(path: Path, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_imagenet_as_folders_and_as_tars(tmp_path, monkeypatch):
    """The real layouts, small: train/nXXXXXXXX/*.JPEG, a folder of class tars, and the tar of class tars."""
    classes = ("n01440764", "n01443537", "n02084071")
    monkeypatch.setitem(DATASETS, "imagenet", DatasetFacts(12, 3, 0))
    root = plain(tmp_path / "imagenet" / "train", classes, each=4, size=(40, 30), suffix="jpeg")
    for path in root.rglob("*.jpeg"):
        path.rename(path.with_suffix(".JPEG"))
    one = next(root.rglob("*_2.JPEG"))
    Image.open(one).convert("CMYK").save(one, "JPEG")
    tars = tmp_path / "tars"
    tars.mkdir()
    inner = {
        f"{name}.tar": tar_of(tars / f"{name}.tar", {p.name: p.read_bytes() for p in sorted((root / name).iterdir())})
        for name in classes[::-1]
    }
    whole = tmp_path / "ILSVRC2012_img_train.tar"
    tar_of(whole, inner)
    cards = []
    kaggle = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    shutil.copytree(root, kaggle)
    for number, source in enumerate((tmp_path / "imagenet", root, tars, whole, tmp_path / "kaggle")):
        target = tmp_path / f"{number}.zip"
        cards.append(prepare(open_source(source, "imagenet"), target, 16, "adm", kind="imagenet"))
        assert target.read_bytes() == (tmp_path / "0.zip").read_bytes()
        assert ZipStore(target).label_names == classes
    assert len({card.content for card in cards}) == 1
    (root / "n01440764" / "n01440764_1.JPEG").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"n01440764_1\.JPEG"):
        prepare(open_source(root, "imagenet"), tmp_path / "bad.zip", 16, "adm", kind="imagenet")
    one.unlink()
    with pytest.raises(UserError, match="11 images, 3 classes"):
        prepare(open_source(root, "imagenet"), tmp_path / "bad.zip", 16, "adm", kind="imagenet")
    assert not list(tmp_path.glob("*bad*"))


def test_ffhq_as_a_folder_and_as_a_zip(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "ffhq", DatasetFacts(6, 0, 1024))
    root = plain(tmp_path / "ffhq" / "images1024x1024", ("00000", "01000"), size=(32, 32))
    (tmp_path / "ffhq" / "LICENSE.txt").write_text("CC")
    packed = tmp_path / "ffhq.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(root.rglob("*.png")):
            file.write(path, path.relative_to(root).as_posix())
    for number, source in enumerate((tmp_path / "ffhq", root)):
        prepare(open_source(source, "ffhq"), tmp_path / f"{number}.zip", 16, "adm", kind="ffhq")
    card = prepare(open_source(packed, "ffhq"), tmp_path / "2.zip", 16, "adm", kind="ffhq")
    assert card.classes == 0
    assert ZipStore(tmp_path / "0.zip").labels is None
    assert len({(tmp_path / f"{n}.zip").read_bytes() for n in range(3)}) == 1


def test_sources_that_are_refused(tmp_path):
    assert set(SOURCES) == {"imagenet", "ffhq", "folder"}
    with pytest.raises(UserError, match="no data set to prepare"):
        open_source(tmp_path / "nowhere", "folder")
    with pytest.raises(UserError, match="fixed rules"):
        open_source(tmp_path, "ffhq", upright=True)
    (tmp_path / "ffhq-r10.tfrecords").write_bytes(b"x")
    with pytest.raises(UserError, match="tfrecords"):
        open_source(tmp_path, "ffhq")
    with pytest.raises(UserError, match="did you mean 'imagenet'"):
        open_source(tmp_path, "imagenett")
    png = b"\x89PNG\r\n\x1a\n"
    for name in ("../../out.png", "/out.png"):
        tar_of(tmp_path / "bad.tar", {name: png})
        with pytest.raises(UserError, match="leads out"):
            open_source(tmp_path / "bad.tar", "folder")
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(UserError, match="link"):
        open_source(tmp_path / "link.tar", "folder")
    tar_of(tmp_path / "classes.tar", {"cats/1.png": png, "dogs/1.png": png})
    with pytest.raises(UserError, match="classes would be lost"):
        open_source(tmp_path / "classes.tar", "folder")
    tar_of(tmp_path / "names.tar", {os.fsdecode(b"\xe9.png"): png})
    with pytest.raises(UserError, match="not UTF-8"):
        open_source(tmp_path / "names.tar", "folder")
    tar_of(tmp_path / "mac.tar", {"./1.png": png, "./._1.png": png})
    assert open_source(tmp_path / "mac.tar", "folder").names == ["mac/1.png"]
    (tmp_path / "no.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match="no whole tar"):
        open_source(tmp_path / "no.tar", "folder")


def test_a_strip_and_a_bomb_are_refused_before_they_fill_the_memory(tmp_path):
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
    np.testing.assert_array_equal(ZipStore(tmp_path / "stored.zip").read(0), pixels)
    np.testing.assert_array_equal(ZipStore(tmp_path / "turned.zip").read(0), pixels[::-1])
    Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(root / "cyan.jpg")
    assert prepare(open_source(root, "folder"), tmp_path / "a.zip", 20, "none").images == 1
    assert prepare(open_source(root, "folder", cmyk=True), tmp_path / "b.zip", 20, "none").images == 2


def test_tags_that_cannot_be_read_end_no_preparation(tmp_path):
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


def test_a_wrong_dataset_json_in_a_source_writes_nothing(tmp_path):
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w") as file:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        file.writestr("a.png", buffer.getvalue())
        file.writestr("dataset.json", json.dumps({"labels": [["../a.png", 0]]}))
    with pytest.raises(UserError, match="stay inside"):
        prepare(open_source(path, "folder"), tmp_path / "out.zip", 8, "none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.zip"]
