"""A stage's small files: how far it is, why it failed. Written by the stage's process, read by anybody. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

import msgspec

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.spec.base import LARGEST
from hdit_repro.stages.settings import Progress, Report

EVERY = 1.0
"""Seconds between two writings of a stage's progress."""


LEFT = "asked to leave, and saved"
"""The note of a stage that whoever works with its owner leaves alone, until it is asked for again."""


class Seen(NamedTuple):
    """Progress as it lies on disk. `first` is `done` when the process began, at `began`; times are Unix seconds."""

    done: int = 0
    total: int = 0
    note: str = ""
    values: dict[str, float] = {}  # noqa: RUF012
    time: float = 0.0
    began: float = 0.0
    first: int = 0
    owner: str = ""

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the pace since the process began; None before there is one."""
        made, spent = self.done - self.first, self.time - self.began
        return (self.total - self.done) * spent / made if made > 0 and spent > 0 else None


class Failure(TypedDict, total=False):
    """Why a stage failed, as it lies on disk; `time` in Unix seconds.

    `own` is whether the error is one of the project's, whose words say what was found and what mends it; older versions
    did not note it.
    """

    error: str
    traceback: str
    own: bool
    time: float
    owner: str
    pid: int


class Writer:
    """A report that keeps a stage's progress file up to date, about once a second, and passes everything on.

    Args:
        path: the progress file.
        owner: who runs the stage, in words that nobody else uses.
        onward: another report that gets every progress, or None.
    """

    def __init__(self, path: Path, owner: str, onward: Report | None = None) -> None:
        self._path, self._owner, self._onward = path, owner, onward
        self._began = time.time()
        self._first: int | None = None
        self._put(Progress("", 0, 0, "starting"))

    def __call__(self, progress: Progress) -> None:
        if self._first is None:  # what was done before a restart is no pace of this process
            self._first, self._began = progress.done, time.time()
        if time.monotonic() - self._written >= EVERY or progress.done == progress.total:
            self._put(progress)
        if self._onward is not None:
            self._onward(progress)

    def _put(self, progress: Progress) -> None:
        self._written = time.monotonic()  # the system's clock may be set back meanwhile
        values = _finite(progress.values)
        seen = Seen(
            int(progress.done), int(progress.total), progress.note, values, time.time(), self._began,
            self._first or 0, self._owner,
        )  # fmt: skip
        with contextlib.suppress(OSError):  # of a file server that stumbles: no stage is lost over a note
            write_json(self._path, seen._asdict())


def read_progress(path: Path) -> Seen:
    """The progress under `path`; nothing yet where it is missing, damaged or of another shape."""
    with contextlib.suppress(UserError, TypeError, msgspec.ValidationError):
        seen = msgspec.convert([*Seen(**read_json(path))], Seen)
        counts = max(seen.done, seen.total, seen.first) <= LARGEST and min(seen.done, seen.total, seen.first) >= 0
        if counts and math.isfinite(seen.time) and math.isfinite(seen.began):
            return seen._replace(values=_finite(seen.values))
    return Seen()


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """Those that JSON can hold."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def note_left(path: Path, owner: str) -> None:
    """Note that a stage was asked to leave by a file or a time limit, and is saved."""
    write_json(path, read_progress(path)._replace(note=LEFT, owner=owner, time=time.time())._asdict())


def note_failure(path: Path, error: BaseException, owner: str) -> None:
    """Keep why a stage failed, whole, for `status`, `logs` and whoever runs it again.

    A full disk takes no note, and that hides nothing: `error` is what is to be told.
    """
    trace = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError, RunError):
        write_failure(path, _words(error), trace, owner, own=isinstance(error, UserError))


def write_failure(path: Path, error: str, trace: str, owner: str, *, own: bool = False) -> None:
    """Keep a failure; called by itself for one of which no exception tells (a process that was killed)."""
    told = {"error": error, "traceback": trace, "own": own}
    write_json(path, {**told, "time": time.time(), "owner": owner, "pid": os.getpid()})


def read_failure(path: Path) -> Failure:
    """The failure under `path`; nothing where there is none, or it is damaged or of another shape."""
    with contextlib.suppress(UserError, msgspec.ValidationError):
        return msgspec.convert(read_json(path), Failure)
    return {}


def for_log(error: BaseException) -> str:
    """An error as a log keeps it: one of the project's in its own words, any other with its traceback."""
    if isinstance(error, UserError):
        return f"error: {error}"
    return "".join(traceback.format_exception(error)).rstrip("\n")


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".removesuffix(": ")
