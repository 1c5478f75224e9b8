"""An archive that grows and survives a kill: the half-written file, and a journal of what in it is whole."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of each member, so that one set of images gives one archive to the last bit."""


class Entry(NamedTuple):
    """An image of the archive: its number in the source, SHA-256 and size of its file, its checksum and place."""

    source: int
    sha256: str
    size: int
    crc: int
    offset: int


class Batch(NamedTuple):
    """What a line of the journal says: sources up to `done` are settled, the archive is whole up to `end`."""

    done: int
    end: int
    entries: list[Entry]
    refused: list[tuple[str, str]]
    notes: dict[str, int]


class Growing:
    """An archive being written, in `.NAME.partial` with `.NAME.journal` beside it.

    A plan that differs from the journal's (another source, another transform) starts afresh. After each `commit`, what
    was added is on the disk for good. `names` gives the member name of the n-th image.

    Args:
        destination: the archive to be.
        plan: everything that the archive's bytes follow from, as plain JSON.
    """

    def __init__(self, destination: Path, plan: dict[str, Any]) -> None:
        self.destination = destination
        self.partial, self.journal = paths(destination)
        self.batches = _read(self.journal, plan)
        if self.batches and (not self.partial.exists() or self.partial.stat().st_size < self.end):
            self.batches = []
        if not self.batches:
            self.partial.unlink(missing_ok=True)
        descriptor = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        self._file: IO[bytes] = os.fdopen(descriptor, "r+b")
        self._file.truncate(self.end)
        self._file.seek(self.end)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self.count = 0
        for entry in self.entries:
            self._remember(entry)
        self._note("\n".join([json.dumps(plan, sort_keys=True), *map(json.dumps, self.batches)]), "w")
        self._new: list[Entry] = []

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):  # type: ignore[no-untyped-def]
        """What is not committed is dropped: the zip file must write no directory when it is forgotten."""
        self._zip.fp = None
        self._file.close()

    @property
    def end(self) -> int:
        """Bytes of the archive that are whole."""
        return self.batches[-1].end if self.batches else 0

    @property
    def done(self) -> int:
        """Images of the source that are settled."""
        return self.batches[-1].done if self.batches else 0

    @property
    def entries(self) -> list[Entry]:
        """The images, in order."""
        return [entry for batch in self.batches for entry in batch.entries]

    @property
    def refused(self) -> list[tuple[str, str]]:
        """(file, reason) of what was not taken."""
        return [pair for batch in self.batches for pair in batch.refused]

    def note(self, name: str) -> int:
        """How many images have a remark."""
        return sum(batch.notes.get(name, 0) for batch in self.batches)

    def add(self, source: int, data: bytes, sha256: str) -> None:
        """Append an image."""
        info = zipfile.ZipInfo(member_name(self.count), EPOCH)
        self._zip.writestr(info, data)
        self.count += 1
        self._new.append(Entry(source, sha256, info.file_size, info.CRC, info.header_offset))

    def commit(self, done: int, refused: Sequence[tuple[str, str]], notes: dict[str, int]) -> None:
        """Settle what was added since: the archive first, then its line in the journal."""
        self._file.flush()
        os.fsync(self._file.fileno())
        batch = Batch(done, self._file.tell(), self._new, list(refused), notes)
        self._note(json.dumps(batch), "a")
        self.batches.append(batch)
        self._new = []

    def close(self, members: dict[str, bytes]) -> None:
        """Add the last members and the archive's directory; the file is then whole, still under its partial name."""
        for name, data in members.items():
            self._zip.writestr(zipfile.ZipInfo(name, EPOCH), data)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Give the archive its name, and forget the journal."""
        self.partial.replace(self.destination)
        self.journal.unlink()

    def _remember(self, entry: Entry) -> None:
        info = zipfile.ZipInfo(member_name(self.count), EPOCH)
        info.file_size = info.compress_size = entry.size
        info.CRC, info.header_offset, info.create_system = entry.crc, entry.offset, 3
        info.external_attr = 0o600 << 16
        self._zip.filelist.append(info)
        self._zip.NameToInfo[info.filename] = info
        self.count += 1

    def _note(self, line: str, mode: str) -> None:
        with open(self.journal, mode, encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def paths(destination: Path) -> tuple[Path, Path]:
    """Where the half-written archive and its journal lie."""
    stem = destination.parent / f".{destination.name}"
    return Path(f"{stem}.partial"), Path(f"{stem}.journal")


def member_name(number: int) -> str:
    """The name of the n-th image, as StyleGAN's and EDM's archives have it: a thousand a folder."""
    return f"{number // 1000:05d}/img{number:08d}.png"


def _read(journal: Path, plan: dict[str, Any]) -> list[Batch]:
    """The journal's whole lines; none where it is missing, damaged at its head or of another plan."""
    batches: list[Batch] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        head, *lines = journal.read_text(encoding="utf-8").splitlines()
        if json.loads(head) != json.loads(json.dumps(plan)):
            return []
        for line in lines:
            done, end, entries, refused, notes = json.loads(line)
            batches.append(Batch(done, end, [Entry(*e) for e in entries], [(f, r) for f, r in refused], notes))
    return batches
