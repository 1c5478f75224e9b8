"""Who began a stage when, and how that ended: tells what fails again and again, and what was paid. No torch."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import read_progress

MOST = 3
"""How often in a row a stage may fail for the same reason in one submission."""

MOST_IN_ALL = 10
"""How often it may fail with a reason in one submission, whatever the reasons."""

_NUMBERS = re.compile(r"\b(0x[0-9a-f]+|\d[\d.,]*)", re.IGNORECASE)
"""What differs in one reason from time to time: process ids, free memory, addresses."""

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
    with contextlib.suppress(RunError):
        return _whole(path)
    return []


def is_damaged(path: Path) -> bool:
    """Whether what is under `path` cannot be told: it is there, and no list of attempts."""
    try:
        _whole(path)
    except RunError:
        return True
    return False


def _whole(path: Path) -> list[Attempt]:
    """The attempts under `path`, oldest first; none where it is missing.

    Raises:
        RunError: it is no list of attempts: how often the stage failed is not known.
    """
    if not path.exists():
        return []
    try:
        return msgspec.convert(read_json(path), list[Attempt])
    except (UserError, msgspec.ValidationError) as error:
        why = error.found if isinstance(error, UserError) else f"{path}: {error}"
        raise RunError(
            "a stage's list of attempts is damaged, so that how often it failed is not known",
            found=why,
            expected="JSON as the stage's jobs write it",
            fix=f"delete {path}, which forgets its failures and its GPU-hours so far; then: hdit-repro retry",
        ) from error


def begin(part: Part, session: str, job: str, gpus: int, name: str) -> None:
    """Note a start, and close the one before it if that ended without a word.

    Raises:
        RunError: the stage, called `name`, failed too often in this submission, or its attempts are damaged; no start
            is noted then.
    """
    close(part)
    found, seen = _whole(part.attempts), read_progress(part.progress)
    if words := spent(found, session):
        raise RunError(
            f"{name} {words} and is not tried again",
            found=found[-1].why,
            expected="an attempt that ends well, or gets further than the one before",
            fix="mend the reason, then: hdit-repro retry",
        )
    found.append(Attempt(session=session, job=job, gpus=gpus, began=time.time(), at=seen.done))
    _write(part.attempts, found)


def is_open(part: Part) -> bool:
    """Whether the newest attempt has no end yet: it runs, or ended without a word."""
    found = read(part.attempts)
    return bool(found) and not found[-1].why


def close(part: Part) -> None:
    """Note of a newest attempt without an end that it ended without a word, when it was last heard of."""
    found = read(part.attempts)
    if found and not found[-1].why:
        last = found[-1]
        last.why, last.ended = SILENT, max(last.began, read_progress(part.progress).time)
        _write(part.attempts, found)


def end(part: Part, why: str) -> None:
    """Note how the newest attempt ended."""
    found = read(part.attempts)
    if found and not found[-1].why:
        found[-1].why, found[-1].ended = why, time.time()
        _write(part.attempts, found)


def spent(attempts: Sequence[Attempt], session: str) -> str:
    """How a stage has used up its attempts in a submission ("failed 3 times ..."); empty where it may try again.

    Reasons that differ in nothing but numbers are one. Being killed counts only where nothing was gained since the
    time before.
    """
    mine = [attempt for attempt in attempts if attempt.session == session and attempt.why]
    if not mine or mine[-1].why in GOES_ON:
        return ""
    why, alike = _NUMBERS.sub("#", mine[-1].why), 0
    for attempt in reversed(mine):
        if _NUMBERS.sub("#", attempt.why) != why or (why == SILENT and attempt.at != mine[-1].at):
            break
        alike += 1
    if alike >= MOST:
        return f"failed {alike} times for the same reason"
    told = sum(attempt.why not in (*GOES_ON, SILENT) for attempt in mine)
    return f"failed {told} times" if told >= MOST_IN_ALL else ""


def _write(path: Path, attempts: list[Attempt]) -> None:
    write_json(path, [msgspec.to_builtins(attempt) for attempt in attempts])
