"""Tar files of images that are not whole: none of their images may be missing without a word."""

from __future__ import annotations

import errno
import io
import os
import tarfile

import pytest

from hdit_repro.data.tars import TarStore
from hdit_repro.errors import RunError, UserError

BLOCK = tarfile.BLOCKSIZE


def tar_of(names: list[str]) -> bytes:
    """A block of headers and a block of data a member, then the mark of the end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = BLOCK
            archive.addfile(info, io.BytesIO(os.fsencode(name).ljust(BLOCK)))
    return buffer.getvalue()


def nested(inner: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("n01.tar")
        info.size = len(inner)
        archive.addfile(info, io.BytesIO(inner))
    return buffer.getvalue()


WHOLE = tar_of(["1.png", "2.png", "3.png"])
DAMAGED = WHOLE[: 4 * BLOCK] + b"\xff" + WHOLE[4 * BLOCK + 1 :]
CUT_IN_A_HEADER, CUT_BETWEEN = WHOLE[: 4 * BLOCK + 100], WHOLE[: 4 * BLOCK]


def test_a_whole_one_is_read_with_the_least_mark_of_its_end(tmp_path):
    path = tmp_path / "a.tar"
    for data in (WHOLE, WHOLE[: 7 * BLOCK]):
        path.write_bytes(data)
        assert TarStore(path).names == ["a/1.png", "a/2.png", "a/3.png"]
    path.write_bytes(nested(WHOLE))
    assert TarStore(path).names == ["n01/1.png", "n01/2.png", "n01/3.png"]


MARKED = 6 * BLOCK
HOLE = WHOLE[: 2 * BLOCK] + bytes(2 * BLOCK) + WHOLE[4 * BLOCK :]
TWO = WHOLE + tar_of(["4.png"])
PREALLOCATED = WHOLE[: 2 * BLOCK] + bytes(2 << 20)


def test_one_padded_to_large_records_is_read(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(WHOLE[:MARKED] + bytes(1 << 20))
    assert len(TarStore(path)) == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DAMAGED, "the header 2,048 bytes in is damaged"),
        (CUT_IN_A_HEADER, "it ends after 2,148 bytes"),
        (CUT_BETWEEN, "it ends after 2,048 bytes"),
        (HOLE, "its end is marked 1,024 bytes in, and more lies behind"),
        (TWO, "its end is marked 3,072 bytes in, and more lies behind"),
        (PREALLOCATED, "its end is marked 1,024 bytes in, and more lies behind"),
    ],
    ids=["damaged", "cut in a header", "cut between two", "a hole", "two in a file", "half fetched"],
)
def test_one_that_ends_early_is_refused(tmp_path, data, words):
    path = tmp_path / "a.tar"
    for written in (data, nested(data)):
        path.write_bytes(written)
        with pytest.raises(UserError, match="no whole tar") as caught:
            TarStore(path)
        assert f"{path}: {words}" in str(caught.value)


def test_one_that_the_system_refuses_is_not_said_to_be_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    path.write_bytes(WHOLE)

    def refused(*_: object) -> bytes:
        raise OSError(errno.EREMOTEIO, "Remote I/O error", str(path))

    monkeypatch.setattr(os, "pread", refused)
    with pytest.raises(RunError, match="cannot be read") as caught:
        TarStore(path)
    assert caught.value.found == f"{path}: Remote I/O error"


def test_an_image_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(["1.png", "2.png", "./1.png"]))
    with pytest.raises(UserError, match="an archive is refused") as caught:
        TarStore(path)
    assert caught.value.found == f"'a/1.png' comes twice in {path}"


def test_a_bystander_of_another_encoding_is_spelt_out(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(["1.png", os.fsdecode(b"caf\xe9.txt")]))
    assert [name for name, _ in TarStore(path).skipped] == [r"caf\xe9.txt"]
