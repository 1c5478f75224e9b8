"""What may be deleted without losing a result: nothing that a record rests on, nothing that a job may still read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, is_locked, read_json
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.snapshot import MAKING, look
from hdit_repro.records.layout import Roots, numbered

DAY = 86_400.0
"""Seconds after which a file that was being written is given up."""


class Garbage(NamedTuple):
    """A file or folder that may go, its size, and why it may."""

    path: Path
    bytes: int
    why: str


@contextlib.contextmanager
def alone(roots: Roots, refused: journal.Refused, busy: Callable[[], None] | None = None) -> Iterator[bool]:
    """While nothing is submitted to SLURM from here: code that no job runs is run by none until it is deleted.

    Args:
        roots: the workplace.
        refused: is told of the lock where this user may not take it.
        busy: called where a submission is waited for.

    Yields:
        Whether it is so; False where the lock is refused, or has no room.
    """
    with contextlib.ExitStack() as stack:
        mine = True
        try:
            if (roots.runs / "submissions").is_dir():
                stack.enter_context(journal.turn(roots, busy))
        except PermissionError as error:
            refused(error)
            mine = False
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            warnings.warn(
                "there is no room for a lock: code of ended submissions is left to the next time", stacklevel=3
            )
            mine = False
        yield mine


def garbage(roots: Roots, refused: journal.Refused = lambda _: None, *, code: bool = True) -> list[Garbage]:
    """Everything under the folder of runs that may be deleted, and what is half-written elsewhere. Deletes nothing.

    Args:
        roots: the workplace.
        refused: is told of what this user may not read; whatever hangs on it is no garbage then.
        code: whether ended submissions to SLURM and code that no job runs are among it.

    Raises:
        RunError: there are submissions to SLURM, and it does not answer.
    """
    found = [
        *_checkpoints(roots, refused),
        *_submissions(roots, refused, code),
        *_ended(roots, refused),
        *_partial(roots),
    ]
    return [Garbage(path, _size(path), why) for path, why in found]


def remove(found: Sequence[Garbage]) -> list[Garbage]:
    """Delete what `garbage` found, and return what the system would not delete; what is gone already is no error."""
    for item in found:
        if item.path.is_dir():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                item.path.unlink()
    return [item for item in found if os.path.lexists(item.path)]


def _checkpoints(roots: Roots, refused: journal.Refused) -> Iterator[tuple[Path, str]]:
    """Of a run whose training is done, all checkpoints but the last."""
    for marker in sorted(roots.runs.glob("*/checkpoints/final.json")):
        try:
            if any(is_locked(path) for path in _inside(marker.parents[1] / "state") if path.match("train-*.lock")):
                continue
            kept = str(read_json(marker)["file"])
            saved = numbered(marker.parent, "step", "safetensors")
            if kept not in [path.name for path in saved.values()]:
                continue
        except (UserError, KeyError, TypeError):
            continue
        except PermissionError as error:
            refused(error)
            continue
        for _, path in sorted(saved.items()):
            if path.name != kept:
                yield path, "a checkpoint before the last one"
                yield from ((side, "goes with it") for side in [path.with_suffix(".json")] if side.exists())


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none. `glob` finds nothing in a folder that is refused.

    Raises:
        PermissionError: it may not be listed.
    """
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _submissions(roots: Roots, refused: journal.Refused, code: bool) -> Iterator[tuple[Path, str]]:
    """Submissions with nothing left in the queue, and snapshots of code that no other submission runs. Where one
    cannot be read, its code is not known: all code stays, and with it the submissions, without which nobody looks at
    it. What another SLURM took may wait in a queue that is not asked here."""
    hidden: list[journal.Unread] = []
    known = journal.journals(roots, hidden.append)
    for place in _inside(roots.runs / "submissions"):
        try:
            _inside(place)
        except PermissionError as error:
            hidden.append(error)
    for told in hidden:
        refused(told)
    if hidden or not code or not known:
        return
    waiting = queue.squeue(journal.submitters(roots)) if queue.present() else None
    away = journal.elsewhere(known) if waiting is not None else {}
    used: set[str] = set()
    for entry in known:
        lives = (
            waiting is None
            or entry.session in away
            or any(job_id in waiting for unit in entry.units for job_id in unit.ids)
        )
        if lives or entry.state == "open":
            used.add(entry.code)
        else:
            yield journal.folder(roots, entry.session), "a submission with no job in the queue"
    now = look(roots, allow_dirty=True)
    for path in sorted((roots.runs / "code").glob("*")):
        if path.name not in used and path != now.path and not path.name.startswith(MAKING):
            yield path, "code that no job in the queue runs"


def _ended(roots: Roots, refused: journal.Refused) -> Iterator[tuple[Path, str]]:
    """Submissions to this machine that somebody waited for: killed, or with a failure, they leave their output."""
    for leash in sorted((roots.runs / "submissions").glob("*/leash")):
        try:
            held = is_locked(leash)
        except PermissionError as error:
            refused(error)
            continue
        if not held:
            yield leash.parent, "a submission on this machine that has ended"


def _partial(roots: Roots) -> Iterator[tuple[Path, str]]:
    """What killed processes left half-written: files, snapshots of code, reports. An archive of images that a journal
    lies beside goes on from there."""
    others = [roots.results, roots.results.parent / "tables"]
    with contextlib.suppress(UserError):
        others.append(cache_folder())
    files = {*roots.runs.rglob("*.partial"), *(path for folder in others for path in folder.rglob(".*.partial"))}
    for path in sorted([*files, *(roots.runs / "code").glob(f"{MAKING}*"), *(roots.runs / "report").glob(".*")]):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it was finished meanwhile, or is another's
            if time.time() - path.stat().st_mtime > DAY and not path.with_suffix(".journal").exists():
                yield path, "was never finished"


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's files; of those that are still there and that this user may look at."""
    size = 0
    for inner in path.rglob("*") if path.is_dir() else (path,):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            found = inner.lstat()
            size += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return size
