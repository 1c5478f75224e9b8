"""The stages of jobs, each once, however many rows share it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hdit_repro.jobs import Job
from hdit_repro.records.layout import STAGES, Roots, RunFolder


class Task(NamedTuple):
    """One stage of one run. `jobs` are all rows that share it; the first stands for them."""

    key: str
    stage: str
    folder: RunFolder
    jobs: tuple[Job, ...]

    @property
    def job(self) -> Job:
        return self.jobs[0]

    @property
    def name(self) -> str:
        """The row it is shown under: "table1/E", with its seeds where they are not 0."""
        return row_name(self.job)

    @property
    def before(self) -> str | None:
        """The stage whose output this one needs."""
        place = STAGES.index(self.stage)
        return STAGES[place - 1] if place else None

    @property
    def ready(self) -> bool:
        """Whether what it needs exists."""
        return self.before is None or self.folder.done(self.before)


def row_name(job: Job) -> str:
    """A row as plans, progress and messages call it."""
    trained, drawn = job.run.seed, job.run.sampling.seed
    return job.name + (f" seed {trained}" if trained else "") + (f" sampling {drawn}" if drawn else "")


def tasks_for(jobs: Iterable[Job], roots: Roots) -> list[Task]:
    """Every stage of every job once, rows in order and stages in order within a row."""
    tasks: dict[str, Task] = {}
    for job in jobs:
        folder = RunFolder(roots, job.run, job.scale)
        for stage in STAGES:
            key = folder.stage_key(stage)
            met = tasks.get(key)
            tasks[key] = Task(key, stage, folder, (job,)) if met is None else met._replace(jobs=(*met.jobs, job))
    return list(tasks.values())


def required(tasks: Sequence[Task]) -> list[Task]:
    """The tasks that still have to be run: not done, and their output is missed by something that is not done.

    A row whose record exists needs no checkpoint any more, so that what was cleared away is not made again.
    """
    looked: set[tuple[str, str]] = set()
    missed: set[str] = set()
    for task in tasks:
        for job in task.jobs:
            row = (job.run.evaluation_id, job.scale)
            if row not in looked:
                looked.add(row)
                folder = task.folder if job is task.job else RunFolder(task.folder.roots, job.run, job.scale)
                missed |= {folder.stage_key(stage) for stage in stages_missed(folder)}
    return [task for task in tasks if task.key in missed]


def unsettled(tasks: Sequence[Task], failed: Callable[[Task], bool]) -> list[Task]:
    """Of the required tasks, what can still come to an end: neither failed nor behind a failure."""
    left = required(tasks)
    stuck = {task.key for task in left if failed(task)}
    for task in left:
        if task.before is not None and task.folder.stage_key(task.before) in stuck:
            stuck.add(task.key)
    return [task for task in left if task.key not in stuck]


def stages_missed(folder: RunFolder) -> tuple[str, ...]:
    """The stages of a row to be run, in order: those after the last one that is done."""
    for place in range(len(STAGES), 0, -1):
        if folder.done(STAGES[place - 1]):
            return STAGES[place:]
    return STAGES
