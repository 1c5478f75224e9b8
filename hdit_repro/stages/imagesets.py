"""Anybody's images as the metrics see them: a folder, a zip or an .npz, in batches of uint8 B 3 H W.

Nothing is converted in silence. A file is refused, with its name, or read by the rule of `data.decode`, as training
data are (grey repeated, transparency laid on white, orientation tags and colour profiles not followed), and counted;
JPEG files are counted too, since their artefacts alone can move a FID by several points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.ahead import ahead
from hdit_repro.data.archive import Archive
from hdit_repro.data.decode import decode
from hdit_repro.data.digest import file_digest, folder_digest
from hdit_repro.data.names import passed_over, refuse_none
from hdit_repro.data.notes import LOSSY, NOTES, counted_note
from hdit_repro.data.store import FolderStore, images_in
from hdit_repro.errors import UserError, counted
from hdit_repro.machine import cpus_here
from hdit_repro.metrics.npz import NpzImages

AHEAD = 3
"""Batches that are decoded before they are asked for."""


class ImageSet(Protocol):
    """Images of one size, in a fixed order.

    name: for messages. count: how many. remarks: what was met in the files, counted, once they have been read. skipped:
    (file, reason) of what lies there and is no image by its name.
    """

    name: str
    count: int
    remarks: Counter[str]
    skipped: list[tuple[str, str]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def digest(self) -> str:
        """SHA-256 of what the set holds."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """The images in order: uint8 B 3 H W, B of `size` but for the last."""


class FileSet:
    """The image files of a folder or a zip archive, in the order of their names.

    Args:
        path: the folder or the archive.
        workers: threads that decode, and cannot change what comes out; 0 is one a CPU of this process, at most eight.

    Raises:
        UserError: nothing is there, it is refused, or it holds no image.
    """

    def __init__(self, path: Path | str, workers: int = 0) -> None:
        self.path, self.name = Path(path), str(path)
        self.workers = workers or min(8, cpus_here())
        self.remarks: Counter[str] = Counter()
        self._read: Callable[[int], bytes]
        if self.path.is_dir():
            store = FolderStore(self.path, labelled=False)
            self.names, self.skipped, self._read = store.names, store.skipped, store.bytes_of
        else:
            archive = Archive(self.path)
            members, self.skipped = images_in(archive)
            self.names = [archive.names[member] for member in members]
            self._read = lambda index: archive.read(members[index])
        refuse_none(self.path, self.names, self.skipped)
        self.count = len(self.names)
        self._size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first image."""
        if self._size is None:
            height, width, _ = self._decoded(0)[0].shape
            self._size = height, width
        return self._size

    @property
    def digest(self) -> str:
        """SHA-256 of the archive, or over the names and contents of the folder's images."""
        return folder_digest(self.path, self.names) if self.path.is_dir() else file_digest(self.path)

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSet.batches`. Later batches are decoded while the caller works on one.

        Raises:
            UserError: a file is damaged, of a kind that is not taken, or of another size than the first; it is named.
        """
        self.remarks.clear()
        _ = self.size  # known before the threads compare with it
        with closing(ahead(self._decoded, range(self.count), AHEAD * size, workers=self.workers)) as decoded:
            while batch := list(islice(decoded, size)):
                yield self._stacked(batch)

    def _stacked(self, decoded: list[tuple[NDArray[np.uint8], tuple[str, ...]]]) -> Tensor:
        for _, remarks in decoded:
            self.remarks.update(remarks)
        stacked = np.stack([pixels for pixels, _ in decoded])
        return rearrange(torch.from_numpy(stacked), "b h w c -> b c h w").contiguous()

    def _decoded(self, index: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Image `index` as H W 3, and what is to be said of its file."""
        name = f"{self.names[index]} in {self.path}"
        picture = decode(self._read(index), name)
        pixels = np.array(picture, np.uint8)
        if self._size is not None and pixels.shape[:2] != self._size:
            height, width = self._size
            raise UserError(
                "images of several sizes cannot be measured together",
                found=f"{name}: {pixels.shape[1]} x {pixels.shape[0]} pixels (width x height)",
                expected=f"{width} x {height}, as {self.names[0]} has",
                fix="bring all images to one size first, and say how",
            )
        return pixels, picture.info[NOTES]


class NpzSet:
    """The images of an .npz file in ADM's format.

    Raises:
        UserError: it holds none.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.name = Path(path), str(path)
        self._images = NpzImages(path)
        self.count = len(self._images)
        self.remarks: Counter[str] = Counter()
        self.skipped: list[tuple[str, str]] = []

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._images.size

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return file_digest(self.path)

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSet.batches`."""
        return self._images.batches(size)


def open_images(path: Path | str, workers: int = 0) -> ImageSet:
    """The images under `path`: a folder, a zip archive, or an .npz with `arr_0`.

    Raises:
        UserError: nothing is there, or it is refused.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            "there are no such images",
            found=str(path),
            expected="a folder, a .zip or an .npz file",
            fix="check the path; relative ones are taken from the current folder",
        )
    if path.suffix.lower() == ".npz":
        return NpzSet(path)
    return FileSet(path, workers)


def refuse_single(images: ImageSet) -> None:
    """Refuse a set of one image.

    Raises:
        UserError: it is one.
    """
    if images.count < 2:
        raise UserError(
            "one image has no covariance",
            found=images.name,
            expected="two images or more",
            fix="name a folder or an archive with all of them",
        )


def said_of(images: ImageSet) -> list[str]:
    """What was met in the files of a set that was read, with how many there were; lossy formats as warnings."""
    said = [f"{images.name}: {counted(images.count, 'image')} of {images.size[1]} x {images.size[0]}"]
    for what, many in sorted(images.remarks.items()):
        why = "; compression alone moves these numbers" if what in LOSSY.values() else ""
        said.append(f"warning: {images.name}: {counted_note(many, what)}{why}")
    said += [f"warning: {images.name}: {phrase}" for phrase in passed_over(images.skipped)]
    return said
