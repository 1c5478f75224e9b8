"""Files that are whole or absent: atomic writing, digests, locks, folders. No torch."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from hdit_repro.errors import RunError, UserError

CHUNK = 1 << 20

FORMULA = ("=", "+", "-", "@", "\t")
"""What begins a cell that a spreadsheet computes."""

SYSTEM = 0
"""The user, by number, of folders above those that people share; nobody asks for the rights to them."""


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
def naming(path: Path | str) -> Iterator[None]:
    """Put a file's name into errors of the system that name none: those of reading and syncing an open one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, for a library that writes by name; it is synced and renamed at the end. A file
    that takes the place of another has its mode, so that a group which shares it goes on sharing it.

    Raises:
        RunError: the disk is full; what stood under `path` before is untouched.
    """
    path = Path(path)
    with needing_room(path, "room for the whole file; the one before is untouched"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.partial")
        temporary.touch(mode=0o666, exist_ok=False)  # the system takes the umask off, which no thread can read safely
        try:
            mode = _permissions(path)
        except FileNotFoundError:
            mode = _permissions(temporary)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(mode)  # a library may have put a file of its own there
            temporary.replace(path)
            with contextlib.suppress(OSError):  # makes the rename durable; some file systems cannot sync a folder
                sync(path.parent)
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


def _permissions(path: Path) -> int:
    """Who may read, write and execute a file; no more of its mode, which another user may have set."""
    return stat.S_IMODE(path.stat().st_mode) & 0o777


def sync(path: Path) -> None:
    """Wait until what was written to a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


class NoFile(OSError):
    """A pipe, a device or a socket where a file is to be read."""


def regular(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Open a file without waiting, as `opener` of `open`: opening a pipe that nobody writes to never comes back.

    Raises:
        NoFile: it is a pipe, a device or a socket.
        OSError: it cannot be opened.
    """
    handle = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # `open` refuses a folder itself
        return handle
    os.close(handle)
    raise NoFile(errno.EINVAL, "a pipe, a device or a socket, and no file", str(path))


def read_bytes(path: Path | str) -> bytes:
    """What a file holds.

    Raises:
        OSError: as of `regular`.
    """
    with naming(path), open(path, "rb", opener=regular) as file:
        return file.read()


def read_text(path: Path | str, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text that a file holds, its lines ended by "\\n".

    Raises:
        OSError: as of `regular`.
        UnicodeDecodeError: it is no text, and `errors` are strict.
    """
    with naming(path), open(path, encoding=encoding, errors=errors, opener=regular) as file:
        return file.read()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` whole under `path`, or leave what was there."""
    with naming(path), atomic_file(path) as file:
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


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A line of headings and a line a row; what is missing is empty, and a text that a spreadsheet would compute
    (`=HYPERLINK(...)` as a label in somebody's record) has an apostrophe before it. Numbers stay numbers."""
    import csv  # few commands write any, and each would wait for it

    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
                for name, value in row.items()
            }
        )
    return text.getvalue()


def read_json(path: Path | str) -> Any:
    """The JSON value under `path`. NaN and infinity and halves of surrogate pairs, which Python's reader takes, are no
    JSON.

    Raises:
        UserError: the file is missing, no file, cut off or no JSON; the message names it.
    """
    try:
        data = read_bytes(path)
        value = json.loads(data, parse_constant=_no_number)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair ("\ud800") is no text that can be written
        return value
    except FileNotFoundError as error:
        raise UserError(
            "a file is missing",
            found=str(path),
            expected="a JSON file",
            fix="check the path, or run the command that writes it",
        ) from error
    except (ValueError, RecursionError, NoFile) as error:  # no JSON, no UTF-8, too deep
        why = error.strerror if isinstance(error, NoFile) else error
        raise UserError(
            "a file is damaged", found=f"{path}: {why}", expected="whole JSON", fix="delete it and make it again"
        ) from error


def _no_number(name: str) -> None:
    """Refuse a constant of Python's in a file of JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no JSON")


def refuse_pipe(path: Path) -> None:
    """Refuse what is neither a file nor a folder where an archive is to be opened: its directory lies at its end, which
    a pipe does not have, and whoever opens one may wait for ever. Nothing is said of what is not there.

    Raises:
        UserError: it is a pipe, a device or a socket.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(
            "an archive is read from a file",
            found=f"{path}: a pipe, a device or a socket",
            expected="a file, or a folder of images",
            fix="write what comes out of it to a file, and name that",
        )


def refuse_other(path: Path, what: str, same: Callable[[], bool]) -> None:
    """Refuse to write over a file that holds something else.

    Args:
        path: where to write.
        what: what is to be written, for the message.
        same: whether the file that lies there holds just that; asked only where one does.

    Raises:
        UserError: another file, or no file, stands there.
    """
    if path.exists() and not (path.is_file() and same()):
        raise UserError(
            f"{what} would replace another file",
            found=f"{path}, which holds something else",
            expected="no file of that name, or one that holds just this",
            fix=f"move {path.name} away, or write under another name",
        )


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits, read a mebibyte at a time."""
    digest = hashlib.sha256()
    with naming(path), open(path, "rb", opener=regular) as file:
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
    with open(path, "a+b") as file:  # NFS grants an exclusive lock to writers alone, a shared one to readers alone
        if wait:
            fcntl.flock(file, fcntl.LOCK_EX)
        elif not _took(file):
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def is_locked(path: Path | str) -> bool:
    """Whether another open file holds the lock on `path` now. Creates nothing."""
    try:
        with open(path, "rb", opener=regular) as file:
            return not _may(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _took(file: IO[bytes]) -> bool:
    """Take the lock of an open file unless somebody holds it. Those who only look share it for a moment, and do not
    count."""
    while not _may(file, fcntl.LOCK_EX):
        if not _may(file, fcntl.LOCK_SH):
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(0.001)
    return True


def _may(file: IO[bytes], kind: int) -> bool:
    """Lock an open file, exclusively or shared, if that can be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def another_owner(path: Path) -> tuple[Path, str] | None:
    """What keeps this user from `path`, and whose that is: itself, or the nearest folder above that can be seen.

    Returns:
        None where it is this user's own, or a folder of the system.
    """
    for place in (path, *path.absolute().parents):
        try:
            number = place.stat().st_uid
        except OSError:
            continue
        if number == os.geteuid() or (number == SYSTEM and place != path):
            return None
        try:
            return place, place.owner()
        except KeyError:  # a user without a name, as in a container
            return place, f"user {number}"
    return None


def whose(error: OSError, name: Callable[[Path], str] = str) -> str:
    """Whose the file or folder is that an error names: "; it belongs to ana". Empty where it is no matter of rights, or
    this user's own.

    Args:
        error: what the system said.
        name: how a folder above the file is written.
    """
    if not isinstance(error, PermissionError) or error.filename is None:
        return ""
    path = Path(error.filename)
    found = another_owner(path)
    return f"; {'it' if found[0] == path else name(found[0])} belongs to {found[1]}" if found else ""


def cache_folder() -> Path:
    """Where weights and reference statistics live: $HDIT_REPRO_CACHE, else the user's cache folder.

    Raises:
        UserError: the user has no home, as a number without a name in a container.
    """
    chosen = os.environ.get("HDIT_REPRO_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hdit-repro"
    except RuntimeError as error:
        raise UserError(
            "there is no folder to keep weights and references in",
            found="HOME is not set, and the system knows no home of this user",
            expected="HDIT_REPRO_CACHE, XDG_CACHE_HOME or HOME",
            fix="export HDIT_REPRO_CACHE=FOLDER",
        ) from error


@lru_cache(maxsize=16)
def shipped(name: str) -> Path:
    """A folder that belongs to the project (`jobs`, `tables/paper`): of the checkout, else of the installed wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / name
    if (package.parent / "pyproject.toml").exists() and checkout.exists():
        return checkout
    return package / "_shipped" / name
