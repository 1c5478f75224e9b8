"""How long a training took, over all its starts, however each of them ended. No torch."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json

EVERY = 30.0
"""Seconds between two notes on disk: a start that is killed loses about as much of its bill."""


class Seconds(NamedTuple):
    """Of a training: by the clock, and those of all its processes together."""

    seconds: float = 0.0
    process_seconds: float = 0.0


class Spent:
    """Counts on from what earlier starts noted.

    Args:
        path: of the note, `{"seconds", "process_seconds"}`; a damaged one counts as none.
        processes: of this start.
    """

    def __init__(self, path: Path, processes: int) -> None:
        self._path, self._processes = path, processes
        self._before = _read(path, processes)
        self._began = self._noted = time.monotonic()

    @property
    def total(self) -> Seconds:
        """Up to now."""
        here = time.monotonic() - self._began
        return Seconds(self._before.seconds + here, self._before.process_seconds + here * self._processes)

    def look(self) -> None:
        """Note it where the last note is old."""
        if time.monotonic() - self._noted >= EVERY:
            self.note()

    def note(self) -> Seconds:
        """Note it now; returns it. No training is lost over a note, nor what it ends with hidden by one."""
        self._noted, total = time.monotonic(), self.total
        with contextlib.suppress(OSError, RunError):  # a file server that stumbles, a full disk
            write_json(self._path, total._asdict())
        return total


def _read(path: Path, processes: int) -> Seconds:
    """What is noted; earlier versions did not count processes, and this start's number stands in."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError, OverflowError):
        noted = read_json(path)
        seconds = float(noted["seconds"])
        found = Seconds(seconds, float(noted.get("process_seconds", seconds * processes)))
        if all(0 <= value < math.inf for value in found):
            return found
    return Seconds()
