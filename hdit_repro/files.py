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
from pathlib import Path
from typing import IO, Any

from hdit_repro.errors import RunError, UserError

CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole, or not at all: write, sync, rename.

    Raises:
        RunError: the disk is full; what stood under `path` before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"no space left to write {path.name}",
                found=f"{path}: {os.strerror(error.errno)}",
                expected="room for the whole file; the one before is untouched",
                fix="free some space or move the folder, then run the same command again",
            ) from error
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; file systems that cannot sync a folder are left to themselves."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
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
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value under `path`.

    Raises:
        UserError: the file is missing, cut off or no JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise UserError("a file is missing", found=str(path), expected="a JSON file") from error
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


def shipped(name: str) -> Path:
    """A folder that belongs to the project (`jobs`, `tables/paper`): of the checkout, else of the installed wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / name
    if (package.parent / "pyproject.toml").exists() and checkout.exists():
        return checkout
    return package / "_shipped" / name
