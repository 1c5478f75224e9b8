"""A stage of one run, or a range of its samples: its small files, and whether it is done. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import is_locked, read_json
from hdit_repro.records.layout import RunFolder


class Part(NamedTuple):
    """What one process works on at a time. `numbers` are those of samples; None is the whole stage."""

    folder: RunFolder
    stage: str
    numbers: range | None = None

    @property
    def name(self) -> str:
        """Name of its small files: the stage's key, with the range where there is one."""
        key = self.folder.stage_key(self.stage)
        return key if self.numbers is None else f"{key}.{self.numbers.start:08d}-{self.numbers.stop:08d}"

    @property
    def lock(self) -> Path:
        return self._file("lock")

    @property
    def progress(self) -> Path:
        return self._file("progress.json")

    @property
    def failure(self) -> Path:
        return self._file("failure.json")

    @property
    def log(self) -> Path:
        return self._file("log")

    @property
    def attempts(self) -> Path:
        """Who began it when, and how that ended."""
        return self._file("attempts.json")

    def done(self) -> bool:
        """Whether its output exists; of a range, whether whole shards hold its samples."""
        if self.numbers is None or self.folder.done(self.stage):
            return self.folder.done(self.stage)
        return drawn(self.folder).issuperset(self.numbers)

    @property
    def state(self) -> str:
        """ "done", "running", "failed" or "missing"."""
        if self.done():
            return "done"
        if is_locked(self.lock):
            return "running"
        return "failed" if self.failure.exists() else "missing"

    def _file(self, ending: str) -> Path:
        return self.folder.path / "state" / f"{self.name}.{ending}"


def state_of(folder: RunFolder, stage: str) -> str:
    """A stage's state: it is "running" too where a process draws a range of its samples."""
    state = folder.state(stage)
    if stage != "sample" or state in ("done", "running"):
        return state
    ranges = (folder.path / "state").glob(f"{folder.stage_key(stage)}.*-*.lock")
    return "running" if any(map(is_locked, ranges)) else state


def drawn(folder: RunFolder) -> set[int]:
    """Numbers of the samples that the manifest lists and whose files are there; none where it is damaged."""
    with contextlib.suppress(UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
        there = {path.name for path in folder.samples.iterdir()}
        manifest = read_json(folder.manifest)
        own = manifest.get("sampling", folder.run.sampling_id) == folder.run.sampling_id
        shards = [shard for shard in manifest["shards"] if own and shard["file"] in there]
        return {number for shard in shards for number in range(shard["first"], shard["first"] + shard["count"])}
    return set()


def ranges(numbers: Sequence[int], size: int) -> list[range]:
    """Ascending numbers as consecutive ranges of at most `size`, cut at multiples of `size`."""
    if isinstance(numbers, range) and numbers.step == 1:
        firsts = range(numbers.start // size * size, numbers.stop, size)
        return [range(max(first, numbers.start), min(first + size, numbers.stop)) for first in firsts if numbers]
    found: list[range] = []
    for number in numbers:
        last = found[-1] if found else None
        if last is not None and last.stop == number and number % size:
            found[-1] = range(last.start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found
