"""What a person sees while rows run: bars on a terminal, plain lines elsewhere. No torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TextIO

from hdit_repro.errors import counted, escaped
from hdit_repro.launch.forecast import Forecast
from hdit_repro.launch.graph import Task
from hdit_repro.launch.progress import Seen
from hdit_repro.launch.status import Row, running_row, status_of
from hdit_repro.stages.settings import Progress

HEARTBEAT = 10.0
"""Seconds between two plain lines, at most."""

LOOKS = 0.5
"""Seconds between two looks at the disk."""

SOON = 5.0
"""Seconds from the start in which nothing is said of the end."""

SHORTEST_BAR, LONGEST_BAR, BESIDE_BAR = 10, 40, 70
"""Letters of a bar, and those that a stage's name, words and time take beside it."""


class Display(Protocol):
    """Where progress goes."""

    def event(self, text: str) -> None:
        """Say something that stays."""

    def update(self, running: Sequence[Row], overall: str, fraction: float) -> None:
        """Show what runs now."""

    def close(self) -> None:
        """End."""


class Plain:
    """Lines: every event at once, what runs every ten seconds."""

    def __init__(self, stream: TextIO, every: float = HEARTBEAT) -> None:
        self._stream, self._every = stream, every
        self._began = self._spoke = time.monotonic()

    def event(self, text: str) -> None:
        self._say(text)

    def update(self, running: Sequence[Row], overall: str, fraction: float) -> None:
        if time.monotonic() - self._spoke < self._every:
            return
        for row in running:
            self._say(f"{row.run} {row.stage} {words(row)}")
        if overall:
            self._say(overall)

    def close(self) -> None:
        self._stream.flush()

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        print(f"[{clock(self._spoke - self._began)}] {escaped(text)}", file=self._stream, flush=True)


class Bars:
    """rich's bars: one for each stage that runs, one for the whole; on a narrow terminal their words alone."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        console = Console(file=stream)
        width = min(LONGEST_BAR, console.width - BESIDE_BAR)
        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            *((BarColumn(width),) if width >= SHORTEST_BAR else ()),
            TextColumn("{task.fields[words]}", markup=False, table_column=Column(overflow="fold")),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=len("0:00:00"))),
        )
        self._progress = RichProgress(*columns, console=console, transient=True)
        self._bars: dict[tuple[str, str], Any] = {}
        self._whole = self._progress.add_task("all", total=1.0, words="")
        self._progress.start()

    def event(self, text: str) -> None:
        self._progress.console.print(escaped(text), markup=False, highlight=False)

    def update(self, running: Sequence[Row], overall: str, fraction: float) -> None:
        shown = {(row.run, row.stage): row for row in running}
        for key in [key for key in self._bars if key not in shown]:
            self._progress.remove_task(self._bars.pop(key))
        for key, row in shown.items():
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(" ".join(key), total=None, words="")
            self._progress.update(self._bars[key], completed=row.done, total=row.total or None, words=words(row))
        self._progress.update(self._whole, completed=fraction, words=overall)

    def close(self) -> None:
        self._progress.stop()


def display() -> Display:
    """Bars where stderr is a terminal, else lines."""
    return Bars(sys.stderr) if sys.stderr.isatty() else Plain(sys.stderr)


class Telling:
    """A stage's report that shows its progress as it comes: for a stage that runs in this process."""

    def __init__(self, task: Task, shown: Display) -> None:
        self._task, self._shown = task, shown
        self._began: tuple[float, int] | None = None
        self._ended = False

    def __call__(self, progress: Progress) -> None:
        now = time.time()
        if self._began is None:
            self._began = (now, progress.done)
        began, first = self._began
        values = dict(progress.values)
        seen = Seen(progress.done, progress.total, progress.note, values, now, began, first)
        row = running_row(self._task, seen)
        if progress.total and progress.done == progress.total and not self._ended:
            self._ended = True
            self._shown.event(f"{row.run} {row.stage} {words(row)}")
        self._shown.update([row], "", seen.fraction)


def words(row: Row) -> str:
    """How far a stage is, in a line: "120/240, loss 0.412, 153 images/s, 2 min left"."""
    parts = [f"{row.done}/{row.total}" if row.total else "starting"]
    if "loss" in row.values:
        parts.append(f"loss {row.values['loss']:.4g}")
    if row.images_per_second:
        parts.append(f"{row.images_per_second:.3g} images/s")
    if row.seconds_left is not None:
        parts.append(f"{duration(row.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A length of time for a person: "40 s", "12 min", "3.2 h", "5.0 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def clock(seconds: float) -> str:
    """Time since the start: "0:40", "1:02:03"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def follow(
    tasks: Sequence[Task],
    hours: Mapping[str, float],
    alive: Callable[[], bool],
    failed: Callable[[Task], bool],
    shown: Display,
) -> None:
    """Show the progress of `tasks` until `alive` says that nobody works any more.

    Args:
        tasks: the stages that were open at the start.
        hours: what each key is planned to take; weighs the stages against each other.
        alive: looks after the workers; called between two looks at the disk.
        failed: whether a stage failed in this session.
        shown: where to.
    """
    began, told = time.monotonic(), set[str]()
    forecast = Forecast(tasks, hours)
    whole = sum(hours[task.key] for task in tasks) or 1.0
    while True:
        going = alive()
        rows = dict(zip((task.key for task in tasks), status_of(tasks), strict=True))
        for task in tasks:
            row = rows[task.key]
            if task.key not in told and (row.state == "done" or (row.state != "running" and failed(task))):
                told.add(task.key)
                shown.event(_ending(row, failed(task)))
        if not going:
            return
        fraction = sum(hours[key] * _fraction(row) for key, row in rows.items()) / whole
        running = [row for row in rows.values() if row.state == "running"]
        now = time.monotonic()
        left = forecast.look(rows, failed, now)
        shown.update(running, _overall(rows, left if now - began > SOON else None), fraction)
        time.sleep(LOOKS)


def _fraction(row: Row) -> float:
    if row.state == "done":
        return 1.0
    return min(1.0, row.done / row.total) if row.state == "running" and row.total else 0.0


def _ending(row: Row, is_failed: bool) -> str:
    also = f" (also {', '.join(name for name in row.names if name != row.run)})" if len(row.names) > 1 else ""
    if is_failed and row.state != "done":
        return f"{row.run} {row.stage} FAILED{also}: {row.error}"
    detail = f": {words(row)}" if row.total and row.stage == "train" else ""
    return f"{row.run} {row.stage} done{also}{detail}"


def _overall(rows: Mapping[str, Row], left: float | None) -> str:
    done = sum(row.state == "done" for row in rows.values())
    text = f"{done} of {counted(len(rows), 'stage')} done"
    if left is not None:
        text += f", about {duration(left)} left"
    return text
