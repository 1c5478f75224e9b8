"""Random access to the members of a zip file, from any number of threads and forked processes at once."""

from __future__ import annotations

import errno
import os
import struct
import weakref
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from hdit_repro.data.retry import patiently
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import refuse_pipe, whose

MAX_MEMBER = 1 << 28
"""Bytes: a larger member is no image of any data set."""

FARTHEST = 1 << 63
"""The place in a file that is beyond what any system reads."""

HEADER = 30
ENCRYPTED = 0x1

NO_PLACE = (None, errno.EINVAL)
"""The numbers of an error of reading where damaged bytes say that something lies: before a file's beginning."""


class Archive:
    """A zip file of stored or deflated members, read by position.

    Positional reads share no file offset, so threads need no lock and a forked process may go on with what it
    inherited; a pickled archive is opened again by its path. The directory is kept as arrays: ImageNet's 1.28 million
    members fit in about 200 MB, names included.

    Args:
        path: the zip file.

    Raises:
        UserError: missing, a pipe, no zip, a member that has no name, climbs out of the archive, comes twice, is
            encrypted or absurdly large.
        RunError: the system refuses to read it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        members = _directory(self.path)
        self.names: list[str] = [info.filename for info in members]
        self._offset = np.array([info.header_offset for info in members], np.int64)
        self._packed = np.array([info.compress_size for info in members], np.int64)
        self._size = np.array([info.file_size for info in members], np.int64)
        self._crc = np.array([info.CRC for info in members], np.uint32)
        self._deflated = np.array([info.compress_type == zipfile.ZIP_DEFLATED for info in members], bool)
        self._file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path,)

    def read(self, index: int) -> bytes:
        """The bytes of a member, checked against the size and checksum that the directory states.

        Raises:
            UserError: the member is damaged or cut off; the message names it.
            RunError: the system refuses to read it.
        """
        try:
            return self._whole(index)
        except OSError as error:
            raise unread(f"{self.names[index]} in {self.path}", error) from error

    def _whole(self, index: int) -> bytes:
        """What `read` gives.

        Raises:
            OSError: the file system's.
        """
        header = self._pread(int(self._offset[index]), HEADER)
        if len(header) < HEADER or header[:4] != b"PK\x03\x04":
            raise self._damaged(index, "its header is missing")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = int(self._offset[index]) + HEADER + name_length + extra_length
        data = self._pread(start, int(self._packed[index]))
        size = int(self._size[index])
        if self._deflated[index]:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error as error:
                raise self._damaged(index, str(error)) from error
        if len(data) != size:
            raise self._damaged(index, f"{len(data)} bytes where {size} belong")
        if zlib.crc32(data) != int(self._crc[index]):
            raise self._damaged(index, "its checksum is wrong")
        return data

    def _pread(self, start: int, count: int) -> bytes:
        """`count` bytes from `start`, fewer at the end of the file."""
        parts = []
        while count > 0 and (part := patiently(partial(self._attempt, count, start))):
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)

    def _attempt(self, count: int, start: int) -> bytes:
        """One positional read; a descriptor that a file server has forgotten is opened again in its place."""
        try:
            return os.pread(self._file, count, start)
        except OSError as error:
            if error.errno == errno.ESTALE:
                again = os.open(self.path, os.O_RDONLY)
                os.dup2(again, self._file)
                os.close(again)
            raise

    def _damaged(self, index: int, why: str) -> UserError:
        return UserError(
            "a member of an archive is damaged",
            found=f"{self.names[index]} in {self.path}: {why}",
            expected="the bytes that were written",
            fix="get or prepare the archive again",
        )


def _directory(path: Path) -> list[zipfile.ZipInfo]:
    """The members that are files, sorted by name, each checked."""
    refuse_pipe(path)
    try:
        with zipfile.ZipFile(path) as archive:
            files = (info for info in archive.infolist() if not info.filename.endswith("/"))
            members = sorted(files, key=lambda info: info.filename)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            "there is no folder and no archive of images",
            found=str(path),
            expected="a folder, or a zip file",
            fix="check the path, or make an archive: hdit-repro data prepare FOLDER FILE.zip --resolution 64",
        ) from error
    except PermissionError:  # of another user, and perhaps as whole as any
        raise
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, IndexError) as error:
        if isinstance(error, OSError) and error.errno not in NO_PLACE:
            raise unread(str(path), error) from error
        named = path.suffix.lower() == ".zip"
        raise UserError(
            "a file is no whole zip archive",
            found=f"{path}: {error}",
            fix="get or prepare the archive again"
            if named
            else "name the folder or the zip that holds the images; unpack a tar first (tar -xf FILE)",
            expected="a whole zip archive",
        ) from error
    before = ""
    for info in members:
        problem = _problem(info, before)
        if problem:
            raise UserError(
                "an archive is refused",
                found=f"{info.filename!r} in {path}: {problem}",
                expected="plain files inside the archive's own folder",
                fix="unpack it with care and look, or get it from its source again",
            )
        before = info.filename
    return members


def _problem(info: zipfile.ZipInfo, before: str) -> str:
    if not info.filename:
        return "it has no name"
    if climbs(info.filename):
        return "its name leads out of the archive"
    if info.filename == before:
        return "the name comes twice"
    if not 0 <= info.header_offset < FARTHEST:
        return "its place lies outside of any file"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {info.compress_type}, where stored or deflated is taken"
    if max(info.file_size, info.compress_size) > MAX_MEMBER:
        return f"{info.file_size:,} bytes, where at most {MAX_MEMBER:,} are taken"
    return ""


def unread(what: str, error: OSError) -> RunError:
    """The error of an archive, or of a part of it, that the system refuses to read."""
    return RunError(
        "an archive cannot be read",
        found=f"{what}: {error.strerror}{whose(error)}",
        expected="a file that can be read",
        fix="check its permissions and its disk, then run the same command again",
    )


def climbs(name: str) -> bool:
    """Whether a member's name is absolute or leads out of where it lies."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in plain.split("/") or plain[1:3] == ":/"


def check_name(name: str) -> None:
    """Refuse a name that is no UTF-8: digests are made of names, and JSON holds them.

    Raises:
        UserError: it holds bytes of another encoding.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            "a name is not UTF-8",
            found=in_letters(name),
            expected="names in UTF-8, which mean the same on every machine",
            fix="rename it (convmv -r -f latin1 -t utf8 FOLDER shows how a folder's names would change)",
        ) from error


def in_letters(name: str) -> str:
    """A name as text: bytes of it that are no UTF-8 are spelt out, as `caf\\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
