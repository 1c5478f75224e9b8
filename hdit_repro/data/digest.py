"""SHA-256 of large files, computed once for as long as a file does not change."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, read_json, sha256_file, write_json


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file. It is remembered in the cache folder under the file's path, size and time of change.

    A cache folder that cannot be written to costs the time of computing it again, no more.
    """
    path = Path(path).resolve()
    state = path.stat()
    facts = {"path": str(path), "size": state.st_size, "changed": state.st_mtime_ns, "inode": state.st_ino}
    memory = cache_folder() / "digests" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(UserError, OSError):
        known = read_json(memory)
        if isinstance(known, dict) and {key: known.get(key) for key in facts} == facts:
            return str(known["sha256"])
    digest = sha256_file(path)
    with contextlib.suppress(UserError, OSError):
        write_json(memory, {**facts, "sha256": digest})
    return digest


def folder_digest(root: Path, names: list[str]) -> str:
    """SHA-256 over the names and contents of the files `names` under `root`, in that order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{sha256_file(root / name)}\n".encode())
    return digest.hexdigest()
