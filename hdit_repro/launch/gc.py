"""What may be deleted without losing a result: nothing that a record rests on, nothing that a job may still read."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, is_locked, read_json
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.snapshot import MAKING, look
from hdit_repro.records.layout import Roots

DAY = 86_400.0
"""Seconds after which a file that was being written is given up."""


class Garbage(NamedTuple):
    """A file or folder that may go, its size, and why it may."""

    path: Path
    bytes: int
    why: str


@contextlib.contextmanager
def alone(roots: Roots, busy: Callable[[], None] | None = None) -> Iterator[None]:
    """While nothing is submitted to SLURM from here: code that no job runs is run by none until it is deleted.

    Args:
        roots: the workplace.
        busy: called where a submission is waited for.
    """
    with journal.turn(roots, busy) if (roots.runs / "submissions").is_dir() else contextlib.nullcontext():
        yield


def garbage(roots: Roots) -> list[Garbage]:
    """Everything under the folder of runs that may be deleted, and what is half-written elsewhere. Deletes nothing.

    Raises:
        RunError: there are submissions to SLURM, and it does not answer.
    """
    found = [*_checkpoints(roots), *_submissions(roots), *_ended(roots), *_partial(roots)]
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


def _checkpoints(roots: Roots) -> Iterator[tuple[Path, str]]:
    """Of a run whose training is done, all checkpoints but the last."""
    for marker in sorted(roots.runs.glob("*/checkpoints/final.json")):
        if any(is_locked(path) for path in marker.parents[1].glob("state/train-*.lock")):
            continue
        try:
            kept = str(read_json(marker)["file"])
        except (UserError, KeyError, TypeError):
            continue
        if not (marker.parent / kept).is_file():
            continue
        for path in sorted(marker.parent.glob("step-*.safetensors")):
            if path.name != kept:
                yield path, "a checkpoint before the last one"
                yield from ((side, "goes with it") for side in [path.with_suffix(".json")] if side.exists())


def _submissions(roots: Roots) -> Iterator[tuple[Path, str]]:
    """Submissions with nothing left in the queue, and snapshots of code that no other submission runs."""
    known = journal.journals(roots)
    if not known:
        return
    waiting = queue.squeue(journal.submitters(roots)) if queue.present() else None
    used: set[str] = set()
    for entry in known:
        lives = waiting is None or any(job_id in waiting for unit in entry.units for job_id in unit.ids)
        if lives or entry.state == "open":
            used.add(entry.code)
        else:
            yield journal.folder(roots, entry.session), "a submission with no job in the queue"
    now = look(roots, allow_dirty=True)
    for path in sorted((roots.runs / "code").glob("*")):
        if path.name not in used and path != now.path and not path.name.startswith(MAKING):
            yield path, "code that no job in the queue runs"


def _ended(roots: Roots) -> Iterator[tuple[Path, str]]:
    """Submissions to this machine that somebody waited for: killed, or with a failure, they leave their output."""
    for leash in sorted((roots.runs / "submissions").glob("*/leash")):
        if not is_locked(leash):
            yield leash.parent, "a submission on this machine that has ended"


def _partial(roots: Roots) -> Iterator[tuple[Path, str]]:
    """What killed processes left half-written: files, snapshots of code, reports. An archive of images that a journal
    lies beside goes on from there."""
    others = [roots.results, roots.results.parent / "tables"]
    with contextlib.suppress(UserError):
        others.append(cache_folder())
    files = {*roots.runs.rglob("*.partial"), *(path for folder in others for path in folder.rglob(".*.partial"))}
    files = {path for path in files if not path.with_suffix(".journal").exists()}
    for path in sorted([*files, *(roots.runs / "code").glob(f"{MAKING}*"), *(roots.runs / "report").glob(".*")]):
        with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
            if time.time() - path.stat().st_mtime > DAY:
                yield path, "was never finished"


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(inner.lstat().st_size for inner in path.rglob("*") if inner.is_file())
    return path.lstat().st_size
