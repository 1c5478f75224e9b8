"""How far everything is, read from disk. Asks no process and no scheduler. No torch."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import UserError, pick
from hdit_repro.files import NoFile, read_bytes
from hdit_repro.jobs import SCALES, Job, read
from hdit_repro.launch.describe import described
from hdit_repro.launch.graph import Task, required, row_name, tasks_for
from hdit_repro.launch.left import share_left
from hdit_repro.launch.progress import Seen, read_failure, read_progress
from hdit_repro.records.layout import Roots

_RUN = re.compile(r"[0-9a-f]{12}")
"""Names of run folders."""


class Row(NamedTuple):
    """One stage of one run.

    Attributes:
        run: the row that it is shown under; `names` are all that share it.
        state: "done", "running", "failed" or "missing".
        done, total: in the stage's own unit (steps of training, samples); 0 of 0 before it has said anything.
        values: what the stage last told ("loss").
        images_per_second: training images or samples, at the pace of the process that runs it.
        seconds_left: at that pace; None where nothing runs.
        error: the last line of why it failed.
        updated: Unix seconds of its last word.
        queue: what a scheduler says of its jobs ("3 pending (Resources)"); it adds the state "queued".
        gpu_hours, planned_gpu_hours: paid so far and planned, where a scheduler runs it.
        left: the share of it that is not kept yet, 1 to 0.
    """

    run: str
    names: tuple[str, ...]
    scale: str
    id: str
    stage: str
    state: str
    done: int
    total: int
    values: dict[str, float]
    images_per_second: float | None
    seconds_left: float | None
    error: str
    updated: float
    queue: str = ""
    gpu_hours: float = 0.0
    planned_gpu_hours: float | None = None
    left: float = 1.0

    def as_row(self) -> dict[str, Any]:
        """The row as `status --json` prints it."""
        return {**self._asdict(), "names": list(self.names)}


def known_tasks(
    roots: Roots, experiment: str | None = None, scale: str | None = None, *, earlier: bool = False
) -> list[Task]:
    """The stages of all rows that run folders describe, or of those of one experiment, row or scale.

    Rows are in the order of their job files, seeds in order within a row; with `earlier`, those too that were edited
    since, as they were.

    Raises:
        UserError: an unknown scale.
    """
    if scale is not None:
        pick(dict.fromkeys(SCALES), scale, kind="scale", where="--scale")
    jobs = [job for job in known_jobs(roots, earlier=earlier) if experiment in (None, job.experiment, job.name)]
    jobs = [job for job in jobs if scale in (None, job.scale)]
    places = {name: _places(name) for name in {job.experiment for job in jobs}}
    jobs.sort(
        key=lambda job: (
            job.experiment,
            job.scale,
            places[job.experiment].get(job.row, 0),
            job.run.seed,
            job.run.sampling.seed,
        )
    )
    return tasks_for(jobs, roots)


def _places(experiment: str) -> dict[str, int]:
    """The place of each row in its job file; none where that is gone."""
    with contextlib.suppress(UserError):
        return {row: place for place, row in enumerate(read(experiment).rows)}
    return {}


def known_jobs(roots: Roots, *, earlier: bool) -> list[Job]:
    """The rows that run folders describe, in the order of the folders; with `earlier`, as they were before too."""
    paths = _descriptions(roots)
    before = [job for path in paths if earlier for job in _described(path, earlier=True)]
    return [job for path in paths for job in _described(path)] + before


def _descriptions(roots: Roots) -> list[Path]:
    """The run.json of every run folder, by path, of those too that the system lets nobody look into.

    Raises:
        OSError: the folder of runs cannot be listed.
    """
    if not roots.runs.exists():
        return []
    found = []
    for folder in sorted(roots.runs.iterdir()):
        path = folder / "run.json"
        try:
            path.stat()
        except PermissionError:
            if _RUN.fullmatch(folder.name):
                found.append(path)
        except OSError:
            continue
        else:
            found.append(path)
    return found


def _described(path: Path, *, earlier: bool = False) -> list[Job]:
    """The rows in a run.json; none where the system refuses it: another user's costs nobody the sight of the rest."""
    with contextlib.suppress(OSError):
        return described(path, earlier=earlier)
    return []


def unreadable(roots: Roots, tasks: Iterable[Task]) -> list[Path]:
    """Descriptions of runs besides those of `tasks` that are damaged, of another version's shape, or not to be read."""
    known = {task.folder.path for task in tasks}
    others = (path for path in _descriptions(roots) if path.parent not in known)
    return [path for path in others if not _described(path)]


def status_of(tasks: Iterable[Task]) -> list[Row]:
    """The state of some stages."""
    tasks = list(tasks)
    open_keys = {task.key for task in required(tasks)}
    return [_row(task, task.key in open_keys) for task in tasks]


def readable(tasks: Sequence[Task]) -> tuple[list[Task], list[PermissionError]]:
    """The stages of runs whose files this user may read, and for each other run the first refusal."""
    refused: dict[Path, PermissionError] = {}
    for task in tasks:
        try:
            status_of([task])
            for path in (task.folder.path / "state").glob(f"{task.key}*.json"):  # those of ranges of its samples too
                with contextlib.suppress(NoFile):  # whoever reads it calls it damaged
                    read_bytes(path)
        except PermissionError as error:
            refused.setdefault(task.folder.path, error)
    return [task for task in tasks if task.folder.path not in refused], list(refused.values())


def in_a_line(text: str) -> str:
    """What an error says first, for hints and warnings follow: cuDNN's and the compiler's go on for many lines. With a
    traceback within, what it ends in."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith(("Traceback", "Original Traceback")) for line in lines):
        return lines[-1]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else ""


def rate(task: Task, seen: Seen) -> float | None:
    """Images a second of training or sampling; None where there is no pace yet, or the unit is no image."""
    if (told := seen.values.get("images_per_s")) is not None:
        return told
    left = seen.seconds_left
    if not left or task.stage == "evaluate" or seen.done >= seen.total:
        return None
    images = task.job.run.training.batch if task.stage == "train" else 1
    return (seen.total - seen.done) / left * images


def running_row(task: Task, seen: Seen) -> Row:
    """A stage that runs now, with what it said last."""
    left = seen.seconds_left
    return _make(task, "running", seen)._replace(
        images_per_second=rate(task, seen),
        seconds_left=max(0.0, left - (time.time() - seen.time)) if left is not None else None,
    )


def _row(task: Task, is_open: bool) -> Row:
    state = task.folder.state(task.stage) if is_open else "done"
    seen = read_progress(task.folder.progress(task.stage))
    left = share_left(task) if is_open else 0.0
    if state == "running":
        return running_row(task, seen)._replace(left=left)
    failure = read_failure(task.folder.failure(task.stage)) if state == "failed" else {}
    return _make(task, state, seen)._replace(error=in_a_line(str(failure.get("error", ""))), left=left)


def _make(task: Task, state: str, seen: Seen) -> Row:
    return Row(
        run=task.name,
        names=tuple(dict.fromkeys(row_name(job) for job in task.jobs)),
        scale=task.job.scale,
        id=task.key.rpartition("-")[2],
        stage=task.stage,
        state=state,
        done=seen.done,
        total=seen.total,
        values=seen.values,
        images_per_second=None,
        seconds_left=None,
        error="",
        updated=seen.time,
    )
