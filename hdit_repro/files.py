"""Files that are whole or absent: atomic writing, digests, locks, folders. No torch."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from hdit_repro.errors import RunError, UserError

CHUNK = 1 << 20


@contextlib.contextmanager
def needing_room(path: Path, consequence: str) -> Iterator[None]:
    """Turn the system's "no space left" and "over quota" into an error that teaches.

    Raises:
        RunError: the disk is full; `consequence` says what became of the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"no space left to write {path.name}",
            found=f"{path}: {os.strerror(error.errno)}",
            expected=consequence,
            fix="free some space or move the folder, then run the same command again",
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, for a library that writes by name; it is synced and renamed at the end.

    Raises:
        RunError: the disk is full; what stood under `path` before is untouched.
    """
    path = Path(path)
    with needing_room(path, "room for the whole file; the one before is untouched"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            with contextlib.suppress(OSError):  # makes the rename durable; some file systems cannot sync a folder
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole, or not at all: write, sync, rename.

    Raises:
        RunError: the disk is full; what stood under `path` before is untouched.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Wait until what was written to a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` whole under `path`, or leave what was there."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all. NaN is refused."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path | str) -> Any:
    """The JSON value under `path`.

    Raises:
        UserError: the file is missing, cut off or no JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            "a file is missing",
            found=str(path),
            expected="a JSON file",
            fix="check the path, or run the command that writes it",
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            "a file is damaged", found=f"{path}: {error}", expected="whole JSON", fix="delete it and make it again"
        ) from error


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits, read a mebibyte at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def lock(path: Path | str, *, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on `path`; the system releases it when the process ends, however it ends.

    Yields:
        True when the lock is held, False when `wait` is off and somebody else holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def is_locked(path: Path | str) -> bool:
    """Whether another open file holds the lock on `path` now. Creates nothing."""
    path = Path(path)
    if not path.exists():
        return False
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def cache_folder() -> Path:
    """Where weights and reference statistics live: $HDIT_REPRO_CACHE, else the user's cache folder."""
    chosen = os.environ.get("HDIT_REPRO_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hdit-repro"


@lru_cache(maxsize=16)
def shipped(name: str) -> Path:
    """A folder that belongs to the project (`jobs`, `tables/paper`): of the checkout, else of the installed wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / name
    if (package.parent / "pyproject.toml").exists() and checkout.exists():
        return checkout
    return package / "_shipped" / name
