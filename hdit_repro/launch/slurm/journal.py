"""What was submitted to SLURM: one journal a submission, written before and after each step. No torch.

runs/submissions/<session>/journal.json. A unit that was about to be submitted and has no job id is looked for in the
queue by its name, so that nothing is ever in the queue that nobody knows of.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, read_json, read_text, write_json
from hdit_repro.launch.slurm import queue
from hdit_repro.records.layout import Roots

NAME = "journal.json"

VERSION: Final = 1
"""Of a journal's shape."""


class Damaged(RunError):
    """A journal that is none, or of another version. Its jobs are not known: they would be submitted a second time.

    Args:
        path: of the journal.
        why: what is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            "a submission's journal is damaged, so that its jobs are not known",
            found=f"{path}: {why}",
            expected=f"a journal of version {VERSION}, as `submit` writes it",
            fix=f"`squeue -u $USER -o '%i %j'` shows its jobs, in whose names is {path.parent.name}: `scancel` them, "
            f"and delete {path.parent}",
        )
        self.path, self.why = path, why

    def __reduce__(self) -> tuple[object, ...]:
        return Damaged, (self.path, self.why)


Unread = PermissionError | Damaged
"""Why a journal is not read."""

Refused = Callable[[Unread], object]
"""Is told of what cannot be read: a submission's journal, whose jobs are not known then, and the like."""

_SRUN = re.compile(
    r"srun: error: .*: tasks? .*: Exited with exit code|srun: (launch/slurm: \S+: )?Terminating"
    r"|srun: (Force Terminated|forcing job termination|Job step aborted)"
)


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """One element of a unit: the stages it runs by key, the samples (first, end) if a range, and what it waits for."""

    stages: tuple[str, ...]
    numbers: tuple[int, int] | None = None
    after: tuple[str, ...] = ()


class Unit(msgspec.Struct, kw_only=True):
    """One call of sbatch. `job_id` is empty before it; `begun` says that the call was about to be made."""

    name: str
    kind: str
    gpus: int
    hours: float
    elements: tuple[Noted, ...]
    begun: bool = False
    job_id: str = ""

    def id_of(self, place: int) -> str:
        """The id of one element in the queue."""
        return self.job_id if len(self.elements) == 1 else f"{self.job_id}_{place}"

    @property
    def ids(self) -> list[str]:
        return [self.id_of(place) for place in range(len(self.elements))] if self.job_id else []


class Journal(msgspec.Struct, kw_only=True):
    """A submission: what was asked for, from which code, and its units in order.

    `state` is "open" while it is being submitted, then "whole", or "cancelled" where it failed half-way. `site` is what
    the SLURM that took it calls its cluster: two may share a folder of runs, and neither knows the other's queue.
    """

    session: str
    cluster: str
    request: dict[str, Any]
    code: str
    units: list[Unit]
    state: str = "open"
    site: str = ""
    version: Literal[1] = VERSION


@contextlib.contextmanager
def turn(roots: Roots, busy: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the only one who submits from this workplace, or deletes what submissions need.

    Args:
        roots: the workplace.
        busy: called once where somebody else does, before their end is waited for.
    """
    path = roots.runs / "submissions" / "submit.lock"
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(lock(path, wait=False)):
            if busy is not None:
                busy()
            stack.enter_context(lock(path))
        yield


def folder(roots: Roots, session: str) -> Path:
    """The submission's own folder: journal, scripts, pickles, output of its jobs."""
    return roots.runs / "submissions" / session


def output(folder: Path, job_id: str, stream: str) -> Path:
    """Where a job's own "out" or "err" goes: what is printed before a stage begins, and by srun."""
    return folder / f"{job_id}_0_log.{stream}"


def tail(path: Path, count: int = 0) -> list[str]:
    """The last lines of a file that say something, 0 for all; none where it cannot be read."""
    try:
        text = read_text(path, errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-count:]


def last_said(folder: Path, job_id: str) -> str:
    """The last line that a job printed to its own stderr; what srun adds to it when a process fails is less than what
    that process said."""
    lines = tail(output(folder, job_id, "err"))
    return next((line for line in reversed(lines) if not _SRUN.match(line)), lines[-1] if lines else "")


def save(roots: Roots, journal: Journal) -> None:
    """Write a journal, whole or not at all."""
    write_json(folder(roots, journal.session) / NAME, msgspec.to_builtins(journal))


def journals(roots: Roots, refused: Refused | None = None) -> list[Journal]:
    """All submissions to SLURM from this workplace, oldest first.

    Args:
        roots: the workplace.
        refused: is told of each that is damaged, or that this user may not read, which is left out then; None stops at
            the first.

    Raises:
        Damaged, PermissionError: one is so, and `refused` is None.
    """
    found: list[Journal] = []
    try:
        paths = _paths(roots)
    except PermissionError as error:
        if refused is None:
            raise
        refused(error)
        return []
    for path in paths:
        try:
            found.append(_read(path))
        except (PermissionError, Damaged) as error:
            if refused is None:
                raise
            refused(error)
    return found


def _paths(roots: Roots) -> list[Path]:
    """The journal of each submission, by name, of those too whose folder the system lets this user not look into.

    Raises:
        PermissionError: the submissions cannot be listed.
    """
    place, found = roots.runs / "submissions", list[Path]()
    for path in sorted(folder / NAME for folder in place.iterdir()) if place.is_dir() else ():
        try:
            path.stat()
        except PermissionError:
            if not began(path.parent.name):  # a folder of something else
                continue
        except OSError:
            continue
        found.append(path)
    return found


def _read(path: Path) -> Journal:
    """One journal.

    Raises:
        Damaged: it is none, or of another version.
        PermissionError: this user may not read it.
    """
    try:
        return msgspec.convert(read_json(path), Journal)
    except UserError as error:
        raise Damaged(path, str(error.found).removeprefix(f"{path}: ")) from error
    except msgspec.ValidationError as error:
        raise Damaged(path, str(error)) from error


def submitters(roots: Roots) -> set[int]:
    """The users, by number, who submitted from this workplace, which a group may share."""
    return {path.parent.stat().st_uid for path in _paths(roots)}


def elsewhere(known: Iterable[Journal]) -> dict[str, str]:
    """Submissions to another SLURM than the one that answers here, by their names, and what that calls its cluster."""
    named = {entry.session: entry.site for entry in known if entry.site}
    here = queue.site() if named else ""
    return {session: site for session, site in named.items() if here and site != here}


def began(session: str) -> float:
    """When a submission was begun, in Unix seconds, which its name tells; 0 where it does not."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(session.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp()
    return 0.0


def age(roots: Roots, entry: Journal) -> float:
    """Seconds since a journal was last written."""
    return time.time() - (folder(roots, entry.session) / NAME).stat().st_mtime


def strays(known: Iterable[Journal]) -> dict[str, Unit]:
    """Units that were about to be submitted when their submitter ended, by the name that they would have."""
    return {unit.name: unit for journal in known for unit in journal.units if unit.begun and not unit.job_id}
