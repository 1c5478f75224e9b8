"""SHA-256 of large files, computed once for as long as a file does not change."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hdit_repro.data.archive import check_name
from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, read_json, sha256_file, write_json
from hdit_repro.spec.base import require_digest


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file. It is remembered in the cache folder under the file's path, size and time of change.

    A cache folder that cannot be written to costs the time of computing it again, no more.

    Raises:
        UserError: the path is no UTF-8.
    """
    path = Path(path).resolve()
    check_name(str(path))
    state = path.stat()
    facts = {"path": str(path), "size": state.st_size, "changed": state.st_mtime_ns, "inode": state.st_ino}
    known = _remembered(path, facts)
    return known or _remember(path, facts, sha256_file(path))


def folder_digest(root: Path, names: list[str]) -> str:
    """SHA-256 over the names and contents of the files `names` under `root`, in that order.

    It is remembered for as long as no file changes its size, its time of change or its inode.
    """
    root = root.resolve()
    facts = {"path": str(root), "state": state_digest((name, root / name) for name in names)}
    known = _remembered(root, facts)
    if known:
        return known
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{sha256_file(root / name)}\n".encode())
    return _remember(root, facts, digest.hexdigest())


def state_digest(files: Iterable[tuple[str, Path]], more: Iterable[tuple[str, str]] = ()) -> str:
    """SHA-256 over names, sizes, times of change and inodes, and over pairs of text: cheap, reads no file."""
    digest = hashlib.sha256()
    for name, path in files:
        state = path.stat()
        digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}\n".encode())
    for name, text in more:
        digest.update(f"{name}\0{text}\n".encode())
    return digest.hexdigest()


def _memory(path: Path) -> Path:
    return cache_folder() / "digests" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.json"


def _remembered(path: Path, facts: dict[str, Any]) -> str:
    with contextlib.suppress(UserError, OSError, ValueError):
        known = read_json(_memory(path))
        if isinstance(known, dict) and {key: known.get(key) for key in facts} == facts:
            require_digest("sha256", str(known.get("sha256")))
            return str(known["sha256"])
    return ""


def _remember(path: Path, facts: dict[str, Any], digest: str) -> str:
    with contextlib.suppress(UserError, OSError):
        write_json(_memory(path), {**facts, "sha256": digest})
    return digest
