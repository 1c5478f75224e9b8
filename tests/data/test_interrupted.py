"""Preparing that is interrupted, or done by several processes: the same bytes, and nothing of another kind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdit_repro.data import journal as journal_module
from hdit_repro.data import prepare as prepare_module
from hdit_repro.data.card import card_path, read_card
from hdit_repro.data.notes import ORIENTATION
from hdit_repro.data.prepare import prepare
from hdit_repro.data.sources import open_source
from hdit_repro.data.store import ZipStore, open_store
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock

FORMATS = 14


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


def test_a_torn_journal_and_a_lost_tail_are_survived(tmp_path, monkeypatch, plain):
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
def test_what_was_interrupted_goes_on_with_nothing_of_another_kind(tmp_path, monkeypatch, change, plain):
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


def test_two_processes_do_not_prepare_one_archive(tmp_path, plain):
    root = plain(tmp_path / "set")
    target = tmp_path / "set.zip"
    with lock(journal_module.paths(target)[1]), pytest.raises(RunError, match="another process"):
        prepare(open_store(root), target, 16, "adm")
    prepare(open_store(root), target, 16, "adm")
    with pytest.raises(UserError, match="cannot be written there"):
        prepare(open_store(root), target, 16, "adm")
