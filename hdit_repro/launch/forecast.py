"""How long the stages of a submission take from here: what runs by its own pace, the rest by its plan. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hdit_repro.launch.graph import Task
from hdit_repro.launch.status import Row

DOUBT = 5.0
"""Seconds of work that count as having taken what was planned: before more is measured, little is concluded."""


class Forecast:
    """The seconds that are left, looked at again and again.

    A stage that runs says itself how long it takes. One that waits takes what it was planned to, times what was
    measured against what was planned: of stages of its kind, and as far as there are none, of all.

    Args:
        tasks: the stages that were open at the start, within a row in order.
        hours: what each key is planned to take, as a whole.
    """

    def __init__(self, tasks: Sequence[Task], hours: Mapping[str, float]) -> None:
        self._tasks = tasks
        self._planned = {task.key: 3600 * hours[task.key] for task in tasks}
        self._open: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._at_once = 1

    def look(self, rows: Mapping[str, Row], failed: Callable[[Task], bool], now: float) -> float | None:
        """Seconds until all is done that can be, as many stages at once as were seen; None before any was measured.

        Args:
            rows: how far each key is.
            failed: whether a stage failed in this session, which stops those behind it too.
            now: seconds on a clock that is never set.
        """
        self._note(rows, now)
        found = self._measured(rows)
        if not found:
            return None
        paths: dict[str, float] = {}
        stuck: set[str] = set()
        whole = 0.0
        for task in self._tasks:
            before = task.folder.stage_key(task.before) if task.before else ""
            row = rows[task.key]
            if row.state == "done":
                continue
            if before in stuck or (row.state != "running" and failed(task)):
                stuck.add(task.key)
                continue
            left = row.seconds_left if row.state == "running" else None
            if left is None:
                left = self._planned[task.key] * row.left * ratio(task.stage, found)
            paths[task.key] = left + paths.get(before, 0.0)
            whole += left
        return max(whole / self._at_once, max(paths.values(), default=0.0))

    def _note(self, rows: Mapping[str, Row], now: float) -> None:
        """When each stage began and ended, as far as it was seen, and how much of it was open before."""
        running = [key for key, row in rows.items() if row.state == "running"]
        self._at_once = max(self._at_once, len(running))
        for key, row in rows.items():
            self._open.setdefault(key, row.left)
            if row.state == "running":
                self._began.setdefault(key, now)
            elif row.state == "done" and key in self._began:
                self._took.setdefault(key, now - self._began[key])

    def _measured(self, rows: Mapping[str, Row]) -> dict[str, tuple[float, float]]:
        """Seconds that took and those that were planned for the same, by the kind of stage."""
        found: dict[str, tuple[float, float]] = {}
        for task in self._tasks:
            row, took, share = rows[task.key], self._took.get(task.key), self._open[task.key]
            if row.state == "running" and row.stage != "evaluate":  # which counts one thing after another
                share = row.done / row.total if row.total else 0.0
                took = row.seconds_left * share / (1 - share) if row.seconds_left and 0 < share < 1 else None
            if took is not None:
                before = found.get(task.stage, (0.0, 0.0))
                found[task.stage] = before[0] + took, before[1] + self._planned[task.key] * share
        return found


def ratio(stage: str, found: Mapping[str, tuple[float, float]]) -> float:
    """How many times what it was planned to a stage takes.

    Args:
        stage: its kind.
        found: seconds measured, and planned for the same, by kind.
    """
    measured, planned = (sum(each) for each in zip(*found.values(), strict=True)) if found else (0.0, 0.0)
    overall = (measured + DOUBT) / (planned + DOUBT)
    own, meant = found.get(stage, (0.0, 0.0))
    return (own + DOUBT * overall) / (meant + DOUBT)
