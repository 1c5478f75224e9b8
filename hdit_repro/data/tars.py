"""ImageNet as it is published: one tar file that holds a tar file a class. Nothing is unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hdit_repro.data.archive import MAX_MEMBER, NO_PLACE, check_name, climbs, in_letters, unread
from hdit_repro.data.digest import file_digest, state_digest
from hdit_repro.data.names import none_of_the_set
from hdit_repro.data.retry import patiently
from hdit_repro.data.store import Numbered, numbered
from hdit_repro.errors import UserError
from hdit_repro.files import refuse_pipe

TAR_SUFFIXES = frozenset({".tar"})

PADDING = 1 << 20
"""Bytes of zeros at most behind the mark of a tar's end; tar itself writes less than 10 KB."""


class Place(NamedTuple):
    """An image inside tar files: its name with its class first, the file, and where its bytes lie in it."""

    name: str
    file: Path
    offset: int
    size: int


class Window(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self.descriptor, self.start, self.size, self.at = descriptor, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self.size - self.at))
        data = os.pread(self.descriptor, wanted, self.start + self.at)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


class TarStore(Numbered):
    """The images in a tar of class tars (ILSVRC2012_img_train.tar), or in a folder of class tars (n01440764.tar ...).

    Args:
        path: the tar file, or the folder.
        cmyk, upright: passed to `decode`.

    Raises:
        UserError: no tar file, one that is damaged or cut off, a member that leads out or comes twice, images in
            folders, or no image.
        RunError: the system refuses to read it.
    """

    def __init__(self, path: Path | str, *, cmyk: bool = False, upright: bool = False) -> None:
        self.path, self.cmyk, self.upright = Path(path), cmyk, upright
        self.facts: dict[str, Any] = {}
        files = sorted(self.path.glob("*.tar")) if self.path.is_dir() else [self.path]
        self.skipped: list[tuple[str, str]] = []
        places = sorted(place for file in files for place in self._read(file))
        if not places:
            raise UserError(
                "there is no image",
                found=str(self.path),
                expected="tar files of images, one a class",
                fix="name the folder with ImageNet's tar files, or the outer tar itself",
            )
        for place, after in pairwise(places):
            if place.name == after.name:
                raise UserError(
                    "an archive is refused",
                    found=f"{place.name!r} comes twice in {self.path}",
                    expected="an image once",
                    fix="unpack it, which keeps the later one, and name the folder",
                )
        self._places = places
        self.names = [place.name for place in places]
        self.labels, self.label_names = numbered([name.split("/")[0] for name in self.names])

    def _read(self, file: Path) -> Iterator[Place]:
        refuse_pipe(file)
        try:
            with open(file, "rb") as opened:
                yield from self._members(opened.fileno(), file, 0, file.stat().st_size, file.stem)
        except PermissionError:
            raise
        except (tarfile.TarError, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno not in NO_PLACE:
                raise unread(str(file), error) from error
            raise UserError(
                "a file is no whole tar archive",
                found=f"{file}: {error}",
                fix="get the file again",
                expected="a whole tar archive",
            ) from error

    def _members(self, descriptor: int, file: Path, start: int, size: int, label: str) -> Iterator[Place]:
        """The images of a tar that begins at `start`; a tar within it is a class of its name."""
        window = io.BufferedReader(Window(descriptor, start, size))
        with tarfile.open(fileobj=window, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                suffix = PurePosixPath(member.name).suffix.lower()
                if climbs(member.name) or not member.isreg():
                    problem = "its name leads out of the archive" if member.isreg() else "it is a link or a device"
                    raise UserError(
                        "an archive is refused",
                        found=f"{member.name!r} in {file}: {problem}",
                        expected="plain files inside the archive's own folder",
                        fix="get the archive from its source again",
                    )
                if member.offset_data + member.size > size:
                    raise UserError(
                        "an archive is cut off",
                        found=f"{member.name!r} in {file}",
                        fix="get it again",
                        expected="all bytes that its header promises",
                    )
                if suffix in TAR_SUFFIXES:
                    inner = PurePosixPath(member.name).stem
                    yield from self._members(descriptor, file, start + member.offset_data, member.size, inner)
                elif reason := "too large for an image" if member.size > MAX_MEMBER else none_of_the_set(member.name):
                    self.skipped.append((in_letters(member.name), reason))
                elif len(PurePosixPath(member.name).parts) > 1:
                    raise UserError(
                        "a tar holds images in folders, whose classes would be lost",
                        found=f"{member.name!r} in {file}",
                        expected="tar files one a class, as ImageNet's, with the images at their top",
                        fix="unpack it (tar -xf), and name the folder that holds the class folders",
                    )
                else:
                    check_name(f"{label}/{member.name}")
                    name = f"{label}/{PurePosixPath(member.name).name}"
                    yield Place(name, file, start + member.offset_data, member.size)
            window.seek(archive.offset)
            _check_end(window, archive.offset)

    def bytes_of(self, index: int) -> bytes:
        place = self._places[index]

        def read() -> bytes:
            with open(place.file, "rb") as file:
                file.seek(place.offset)
                return file.read(place.size)

        try:
            return patiently(read)
        except OSError as error:
            raise unread(str(place.file), error) from error

    @property
    def state(self) -> str:
        files = sorted({place.file for place in self._places})
        return state_digest([(file.name, file) for file in files])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tar file, or of the digests of several."""
        files = sorted({place.file for place in self._places})
        if len(files) == 1:
            return file_digest(files[0])
        return state_digest([], [(file.name, file_digest(file)) for file in files])


def _check_end(window: io.BufferedReader[Window], place: int) -> None:
    """Refuse a tar that ends in other than a mark of zeros and what pads it: the library takes a damaged header for the
    end, and a hole in the middle.

    Args:
        window: the tar, at the place where the next header would be.
        place: where that is.

    Raises:
        tarfile.ReadError: there is no mark of the end, or more behind it.
    """
    block = window.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it ends after {place + len(block):,} bytes, without the mark of its end")
    if any(block):
        raise tarfile.ReadError(f"the header {place:,} bytes in is damaged")
    rest = window.read(PADDING + 1)
    if len(rest) > PADDING or rest.count(0) < len(rest):
        raise tarfile.ReadError(
            f"its end is marked {place:,} bytes in, and more lies behind: another archive, or zeros where files were"
        )
