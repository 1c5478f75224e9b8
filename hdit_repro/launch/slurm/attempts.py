"""Who began a stage when, and how that ended: tells what fails again and again, and what was paid. No torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import read_progress

MOST = 3
"""How often a stage may fail for the same reason in one submission."""

GOES_ON = ("done", "preempted")
"""Endings that are no failures; a stage at the end of its time counts as preempted."""

SILENT = "ended without a word: killed, out of memory, or its node failed"


class Attempt(msgspec.Struct, kw_only=True):
    """One start of a stage: by which submission and job, on how many GPUs, from which progress; why it ended."""

    session: str
    job: str
    gpus: int
    began: float
    ended: float = 0.0
    at: int = 0
    why: str = ""

    @property
    def gpu_hours(self) -> float:
        return self.gpus * max(0.0, self.ended - self.began) / 3600


def read(path: Path) -> list[Attempt]:
    """The attempts under `path`, oldest first; none where it is missing or damaged."""
    with contextlib.suppress(UserError, msgspec.ValidationError):
        return msgspec.convert(read_json(path), list[Attempt])
    return []


def begin(part: Part, session: str, job: str, gpus: int) -> None:
    """Note a start, and close the one before it if that ended without a word."""
    found, seen = read(part.attempts), read_progress(part.progress)
    if found and not found[-1].why:
        last = found[-1]
        last.why, last.ended = SILENT, max(last.began, seen.time)
    found.append(Attempt(session=session, job=job, gpus=gpus, began=time.time(), at=seen.done))
    _write(part.attempts, found)


def end(part: Part, why: str) -> None:
    """Note how the newest attempt ended."""
    found = read(part.attempts)
    if found and not found[-1].why:
        found[-1].why, found[-1].ended = why, time.time()
        _write(part.attempts, found)


def same_failures(attempts: Sequence[Attempt], session: str) -> tuple[int, str]:
    """How often in a row, up to now, a stage failed for one reason in a submission, and the reason.

    Being killed counts only where nothing was gained since the time before.
    """
    ended = [attempt for attempt in attempts if attempt.session == session and attempt.why]
    if not ended or ended[-1].why in GOES_ON:
        return 0, ""
    why, count = ended[-1].why, 0
    for attempt in reversed(ended):
        if attempt.why != why or (why == SILENT and attempt.at != ended[-1].at):
            break
        count += 1
    return count, why


def refuse_more(part: Part, session: str, name: str) -> None:
    """Stop a stage that failed too often for the same reason.

    Raises:
        RunError: it did, with the reason.
    """
    count, why = same_failures(read(part.attempts), session)
    if count >= MOST:
        raise RunError(
            f"{name} failed {count} times for the same reason and is not tried again",
            found=why,
            expected="an attempt that ends well, or gets further than the one before",
            fix="mend the reason, then: hdit-repro retry",
        )


def _write(path: Path, attempts: list[Attempt]) -> None:
    write_json(path, [msgspec.to_builtins(attempt) for attempt in attempts])
