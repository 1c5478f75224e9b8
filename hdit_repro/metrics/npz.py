"""Images in ADM's format: an .npz whose `arr_0` is uint8 N H W 3. Read and written a batch at a time, of any size."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from einops import rearrange
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.files import atomic_file, refuse_pipe

ARRAY = "arr_0"
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""The last one is the library's of a member that is encrypted, or packed in a way that it does not know."""


def arrays_in(path: Path) -> list[str]:
    """The names of the arrays in an .npz file.

    Raises:
        UserError: it is missing or no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except PermissionError:  # of another user, and perhaps as whole as any
        raise
    except _BROKEN as error:
        raise UserError(
            "a file is no whole .npz", found=f"{path}: {error}", fix="get or export it again", expected="a whole .npz"
        ) from error


class NpzImages:
    """The images of an .npz file, under the name that ADM gives them (`arr_0`).

    Args:
        path: the file.

    Raises:
        UserError: no such file or array, or one that is not uint8 N H W 3.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        refuse_pipe(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{ARRAY}.npy") as file:
                shape, fortran, dtype = _header(file)
        except PermissionError:  # of another user, and perhaps as whole as any
            raise
        except _BROKEN as error:
            raise UserError(
                "images cannot be read",
                found=f"{path}: {error}",
                expected=f"an array {ARRAY}",
                fix="save it again with numpy, without pickled objects",
            ) from error
        if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or fortran or min(shape) < 1:
            raise UserError(
                "an array holds no images",
                found=f"{ARRAY} in {path}: {dtype} {' x '.join(map(str, shape))}",
                expected="uint8, N x H x W x 3, in C order, as ADM's evaluator reads it",
                fix="np.savez(PATH, arr_0=images) with images of that kind",
            )
        self.count, self.height, self.width = shape[:3]

    def __len__(self) -> int:
        return int(self.count)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def batches(self, size: int) -> Iterator[Tensor]:
        """The images in order: uint8 B 3 H W, B of `size` but for the last.

        Raises:
            UserError: the file is cut off or damaged.
        """
        row = self.height * self.width * 3
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{ARRAY}.npy") as file:
                _header(file)
                for first in range(0, self.count, size):
                    many = min(size, self.count - first)
                    data = file.read(many * row)
                    if len(data) != many * row:
                        raise EOFError(f"it ends after {first + len(data) // row} of {self.count} images")
                    pixels = np.frombuffer(data, np.uint8).reshape(many, self.height, self.width, 3)
                    yield rearrange(torch.from_numpy(pixels.copy()), "b h w c -> b c h w")
        except PermissionError:  # of another user, and perhaps as whole as any
            raise
        except _BROKEN as error:
            raise UserError(
                "images are damaged",
                found=f"{self.path}: {error}",
                fix="get or export it again",
                expected="all bytes that the array's header promises",
            ) from error


def write_npz(path: Path | str, count: int, batches: Iterable[Tensor]) -> None:
    """Write images to an .npz that ADM's evaluator reads, whole or not at all, without holding them in memory.

    Args:
        path: the file.
        count: how many images there are in all.
        batches: uint8 B 3 H W, of one size.

    Raises:
        RunError: the disk is full.
        ValueError: another type, sizes that differ, or another number of images than `count`.
    """
    shape: tuple[int, ...] | None = None
    written = 0
    with (
        atomic_file(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
        archive.open(zipfile.ZipInfo(f"{ARRAY}.npy"), "w", force_zip64=True) as member,
    ):
        for batch in batches:
            pixels = rearrange(batch, "b c h w -> b h w c").contiguous().numpy()
            if shape is None:
                shape = pixels.shape[1:]
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
                npy.write_array_header_1_0(member, header)
            if pixels.dtype != np.uint8 or pixels.shape[1:] != shape or shape[-1] != 3:
                raise ValueError(f"images are uint8 B 3 H W of one size, found {pixels.dtype} {pixels.shape}")
            member.write(pixels.tobytes())
            written += len(pixels)
        if written != count:
            raise ValueError(f"{count} images were announced and {written} came")


def read_float(path: Path, name: str) -> NDArray[np.float64]:
    """One array of numbers of an .npz file, as float64. Nothing is unpickled.

    Raises:
        UserError: it is missing or no numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = file[name]
            if found.dtype.kind not in "fiu":
                raise TypeError(f"{name} holds {found.dtype}, and real numbers are needed")
            return np.asarray(found, np.float64)
    except PermissionError:  # of another user, and perhaps as whole as any
        raise
    except (*_BROKEN, TypeError, MemoryError) as error:  # a damaged header may promise any size
        raise UserError(
            "statistics cannot be read",
            found=f"{path}: {error}",
            expected=f"an array {name}",
            fix="save it again with numpy, without pickled objects",
        ) from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version} of NumPy's format")
