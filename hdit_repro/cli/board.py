"""`status` as text: a line a row, a column a stage, and below it why things wait and why they failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro.cli.output import fitted, narrowed, wrapped
from hdit_repro.errors import counted, escaped

if TYPE_CHECKING:
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.status import Row

NAMED = 3
"""Rows that a note names; more are counted."""

NOTES = 30
"""Notes at most below a table; the rest is counted."""

NUMBERS = ("loss", "images/s", "left", "GPU-hours")
"""Columns that are aligned to the right, and left out where all their cells are empty."""


SPARE = ("images/s", "GPU-hours")
"""Columns that go on a narrow terminal, the first of them first."""


class Line(NamedTuple):
    """One row of an experiment: its name, scale and id, and its stages by name."""

    name: str
    scale: str
    id: str
    stages: dict[str, Row]

    @property
    def done(self) -> bool:
        return all(stage.state == "done" for stage in self.stages.values())

    @property
    def runs(self) -> bool:
        return any(stage.state == "running" for stage in self.stages.values())


def lines_of(tasks: Sequence[Task], rows: Sequence[Row]) -> list[Line]:
    """The rows of experiments in order, each with all its stages, also those that it shares.

    Args:
        tasks: every stage once.
        rows: the state of each.
    """
    from hdit_repro.launch.graph import row_name
    from hdit_repro.records.layout import STAGES, RunFolder

    states = {task.key: row for task, row in zip(tasks, rows, strict=True)}
    found: dict[tuple[str, str, str], Line] = {}
    for task in tasks:
        for job in task.jobs:
            folder = RunFolder(task.folder.roots, job.run, job.scale)
            name = (row_name(job), job.scale, job.run.evaluation_id)
            keys = {stage: folder.stage_key(stage) for stage in STAGES}
            found.setdefault(name, Line(*name, {stage: states[key] for stage, key in keys.items() if key in states}))
    return list(found.values())


def board(lines: Sequence[Line], height: int = 0, columns: int = 0) -> list[str]:
    """The table and its notes.

    Args:
        lines: the rows.
        height: lines of text at most, what runs first and without finished rows where it is too low; 0 is no limit.
        columns: of the terminal; 0 is no limit. With a height, what is wider still is left to be cut.
    """
    notes, shown, hidden = notes_of(lines), list(lines), 0
    if len(notes) > NOTES:
        notes = [*notes[:NOTES], f"... and {counted(len(notes) - NOTES, 'note')} more: --json has all"]
    if height and len(shown) + len(notes) + 3 > height:
        shown = sorted((line for line in shown if not line.done), key=lambda line: not line.runs)
        notes = notes[: max(3, height // 3)]
        shown = shown[: max(1, height - len(notes) - 4)]
        hidden = len(lines) - len(shown)
    room = 0 if height else columns
    table, said = _table(shown, columns, room)
    text = [*table, *(wrapped(said, room) if said else [])]
    if hidden:
        done = sum(line.done for line in lines)
        text.append(f"... and {counted(hidden, 'row')} more, {done} of {len(lines)} done")
    return [*text, *([""] if notes else []), *(line for note in notes for line in wrapped(note, room))]


def notes_of(lines: Sequence[Line]) -> list[str]:
    """Failures, then what the queue says; what several rows share is said once."""
    found: dict[tuple[int, str, str], list[str]] = {}
    for line in lines:
        for stage, row in line.stages.items():
            if row.state == "failed" and row.error:
                found.setdefault((0, stage, f"failed: {row.error}"), []).append(line.name)
            elif row.queue:
                found.setdefault((1, stage, row.queue), []).append(line.name)
    return [
        escaped(f"{_named(names)} {stage} {text}", kept="")
        for (_, stage, text), names in sorted(found.items(), key=lambda f: f[0][0])
    ]


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _table(lines: Sequence[Line], columns: int, room: int) -> tuple[list[str], str]:
    """The table, and what is to be said of the columns that it leaves out; `room` is what it may not be wider than."""
    from hdit_repro.records.layout import STAGES

    scales = len({line.scale for line in lines}) > 1
    twice = len({(line.name, line.scale) for line in lines}) < len(lines)
    cells: dict[str, list[str]] = {"run": [line.name for line in lines]}
    if scales:
        cells["scale"] = [line.scale for line in lines]
    if twice:
        cells["id"] = [line.id for line in lines]
    cells |= {stage: [_cell(line.stages.get(stage)) for line in lines] for stage in STAGES}
    numbers = [_numbers(line) for line in lines]
    cells |= {name: [row[place] for row in numbers] for place, name in enumerate(NUMBERS)}
    used = {name: column for name, column in cells.items() if name not in NUMBERS or any(column)}
    names, rows, said = narrowed(tuple(used), list(zip(*used.values(), strict=True)), SPARE, columns)
    return fitted(names, rows, room, right=NUMBERS), said


def _cell(row: Row | None) -> str:
    """A stage in a word: "done", "37 %" of what runs, "queued", "failed", "-" where it has not had its turn; of what is
    neither done nor running, how much is kept too ("37 % there")."""
    from hdit_repro.launch.left import there

    if row is None:
        return "-"
    if row.state == "running":
        return f"{100 * row.done / row.total:.0f} %" if row.total else "starts"
    if row.state == "done" or not (kept := there(row.left)):
        return "-" if row.state == "missing" else row.state
    return kept if row.state == "missing" else f"{row.state}, {kept}"


def _numbers(line: Line) -> tuple[str, str, str, str]:
    """Loss of training; images a second and time left of what runs; GPU-hours paid and planned."""
    from hdit_repro.launch.follow import duration

    rows = line.stages.values()
    running = next((row for row in rows if row.state == "running"), None)
    loss = next((row.values["loss"] for row in rows if "loss" in row.values), None)
    rate = running.images_per_second if running else None
    left = running.seconds_left if running else None
    planned = [row.planned_gpu_hours for row in rows if row.planned_gpu_hours is not None]
    return (
        "" if loss is None else f"{loss:.4g}",
        "" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}",
        "" if left is None else duration(left),
        f"{_hours(sum(row.gpu_hours for row in rows))}/{_hours(sum(planned))}" if planned else "",
    )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}"
