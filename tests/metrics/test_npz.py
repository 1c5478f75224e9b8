"""Images in ADM's format: what is written is read back, a batch at a time, and damage is named."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from numpy.lib import format as npy

from hdit_repro.errors import UserError
from hdit_repro.metrics.npz import NpzImages, read_float, write_npz


def pictures(count=11, size=(6, 8)):
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 4, 11, 50])
def test_there_and_back(tmp_path, batch):
    images = pictures()
    write_npz(tmp_path / "a.npz", 11, images.split(batch))
    with np.load(tmp_path / "a.npz") as file:  # as ADM's evaluator reads it
        assert file.files == ["arr_0"]
        np.testing.assert_array_equal(file["arr_0"], images.permute(0, 2, 3, 1).numpy())
    found = NpzImages(tmp_path / "a.npz")
    assert (len(found), found.height, found.width) == (11, 6, 8)
    parts = list(found.batches(3))
    assert [len(part) for part in parts] == [3, 3, 3, 2]
    assert torch.equal(torch.cat(parts), images)
    assert parts[0].shape == (3, 3, 6, 8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_numpy(tmp_path, save):
    images = pictures()
    save(tmp_path / "a.npz", arr_0=images.permute(0, 2, 3, 1).numpy(), arr_1=np.zeros(11, np.int64))
    assert torch.equal(torch.cat(list(NpzImages(tmp_path / "a.npz").batches(4))), images)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)),
    ],
)
def test_other_arrays_are_refused(tmp_path, array):
    np.savez(tmp_path / "a.npz", arr_0=array)
    with pytest.raises(UserError, match="no images"):
        NpzImages(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(-4, 4, 4, 3), (10**12,)])
def test_a_header_that_promises_what_is_not_there_is_refused(tmp_path, shape):
    """Memory for a tebibyte is not to be had, and -4 images are none."""
    data = io.BytesIO()
    npy.write_array_header_1_0(data, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", data.getvalue() + bytes(100))
    with pytest.raises(UserError, match="no images"):
        NpzImages(tmp_path / "a.npz")
    with pytest.raises(UserError, match="statistics cannot be read"):
        read_float(tmp_path / "a.npz", "arr_0")


def test_an_encrypted_array_is_refused(tmp_path):
    """The library says so by a RuntimeError."""
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"images cannot be read(.|\n)*encrypted"):
        NpzImages(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"statistics cannot be read(.|\n)*encrypted"):
        read_float(tmp_path / "a.npz", "arr_0")


def test_damage_is_named(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, 11, [pictures()])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read") as caught:
        NpzImages(path)
    assert str(path) in str(caught.value)
    flipped = bytearray(whole)
    flipped[300] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="CRC"):
        list(NpzImages(path).batches(4))
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="cannot be read"):
        NpzImages(path)


@pytest.mark.parametrize("batches", [[pictures(4)], [pictures(8), pictures(3, (8, 6))], [pictures().float()]])
def test_what_does_not_fit_is_not_written(tmp_path, batches):
    with pytest.raises(ValueError, match=r"announced|one size"):
        write_npz(tmp_path / "a.npz", 11, batches)
    assert list(tmp_path.iterdir()) == []
