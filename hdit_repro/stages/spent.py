"""How long trainings and sets of samples took and on what, over all their starts, however each ended. No torch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, read_json, write_json
from hdit_repro.records.layout import RunFolder
from hdit_repro.stages.settings import Way

EVERY = 30.0
"""Seconds between two notes on disk: a start that is killed loses about as much of its bill."""


class Seconds(NamedTuple):
    """Of a training: by the clock, and those of all its processes together by what they ran on."""

    seconds: float = 0.0
    process_seconds: Mapping[str, float] = {}


class Spent:
    """Counts on from what earlier starts noted.

    Args:
        path: of the note, `{"seconds", "process_seconds"}`; a damaged one counts as none.
        processes: of this start.
        device: that they run on, by name.
    """

    def __init__(self, path: Path, processes: int, device: str) -> None:
        self._path, self._processes, self._device = path, processes, device
        self._before = _read(path, processes, device)
        self._began = self._noted = time.monotonic()

    @property
    def total(self) -> Seconds:
        """Up to now."""
        here = time.monotonic() - self._began
        before = self._before
        return Seconds(before.seconds + here, _plus(before.process_seconds, self._device, here * self._processes))

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


def _read(path: Path, processes: int, device: str) -> Seconds:
    """What is noted; earlier versions did not count processes, and this start's number stands in."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError, OverflowError):
        noted = read_json(path)
        (seconds,) = by_device(float(noted["seconds"]), device).values()
        return Seconds(seconds, by_device(noted.get("process_seconds", seconds * processes), device))
    return Seconds()


class Drawn(NamedTuple):
    """Of a set of samples: seconds by what it was drawn on, and how the network was called, in no way for images of
    others."""

    seconds: Mapping[str, float] = {}
    network: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Seconds of all devices."""
        return sum(self.seconds.values())


def add_drawn(folder: RunFolder, seconds: float, device: str, way: Way | None = None) -> None:
    """Add to the time that this set of samples took, over all jobs and restarts, and to the ways that were gone. It is
    called before samples are kept: once all are, nobody comes back to say what they took."""
    with lock(folder.samples / "seconds.lock"):
        before = drawn(folder, device)
        ways = tuple(sorted({*before.network, *([way] if way else [])}))
        write_json(folder.samples / "seconds.json", Drawn(_plus(before.seconds, device, seconds), ways)._asdict())


def drawn(folder: RunFolder, device: str = "") -> Drawn:
    """What is noted of a set of samples; nothing where the note is missing or damaged. Seconds that an earlier version
    noted without a device count as of `device`."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError, OverflowError):
        noted = read_json(folder.samples / "seconds.json")
        return Drawn(by_device(noted["seconds"], device), tuple(map(str, noted.get("network", ()))))
    return Drawn()


def by_device(noted: Any, device: str) -> dict[str, float]:
    """Seconds by device, as they are noted; of earlier versions one number, which counts as of `device`.

    Raises:
        TypeError, ValueError, OverflowError: they are no seconds.
    """
    found = {name: float(value) for name, value in (noted if isinstance(noted, dict) else {device: noted}).items()}
    if not all(0 <= value < math.inf for value in found.values()):
        raise ValueError("seconds are finite numbers of 0 or more")
    return found


def _plus(before: Mapping[str, float], device: str, seconds: float) -> dict[str, float]:
    return {**before, device: before.get(device, 0.0) + seconds}
