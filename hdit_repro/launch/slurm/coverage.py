"""Which stages are in the queue already, and which jobs wait for what cannot come. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import drawn
from hdit_repro.launch.slurm.journal import Journal, Noted
from hdit_repro.launch.slurm.queue import NEVER, Queued

Done = Callable[[str, tuple[int, int] | None], bool]
"""Whether a stage by its key, or a range of its samples, has its output."""


@dataclass(frozen=True)
class InQueue:
    """An element that is in the queue, and can come to an end."""

    job: Queued
    noted: Noted
    unit: str


@dataclass
class Coverage:
    """By stage key, the elements that will make it; and jobs whose dependency can never be met."""

    elements: dict[str, list[InQueue]] = field(default_factory=dict)
    doomed: list[str] = field(default_factory=list)

    def jobs(self, key: str) -> list[InQueue]:
        return self.elements.get(key, [])

    def ids(self, key: str) -> list[str]:
        return [element.job.id for element in self.jobs(key)]

    def numbers(self, key: str, count: int) -> set[int]:
        """Samples of `count` that elements in the queue will draw: a pack draws all of them."""
        spans = (element.noted.numbers or (0, count) for element in self.jobs(key))
        return {number for span in spans for number in range(*span)}

    @property
    def held(self) -> list[str]:
        """The jobs that somebody has to release, in words that `scontrol` takes: an array is one of them."""
        return list(dict.fromkeys(one.job.id.partition("_")[0] for one in self.all if one.job.held))

    @property
    def all(self) -> list[InQueue]:
        return list({id(element): element for found in self.elements.values() for element in found}.values())


def made(tasks: Sequence[Task], done: Callable[[Task], bool]) -> Done:
    """Whether a stage of `tasks` has its output, or a range of its samples. Stages of other experiments count as made:
    theirs is not judged here.

    Args:
        tasks: the stages.
        done: whether one has its output.
    """
    known = {task.key: task for task in tasks}

    def answer(key: str, numbers: tuple[int, int] | None) -> bool:
        task = known.get(key)
        if task is None or done(task):
            return True
        return numbers is not None and drawn(task.folder).issuperset(range(*numbers))

    return answer


def cover(known: Iterable[Journal], listed: Mapping[str, Queued], done: Done) -> Coverage:
    """Hold the journals against the queue: a job is ours by its id and its name, since SLURM uses ids again.

    A job that waits for another which has ended without its output counts as doomed, whatever SLURM has found out.
    """
    noted = {
        unit.id_of(place): (element, unit.name)
        for journal in known
        for unit in journal.units
        if unit.job_id
        for place, element in enumerate(unit.elements)
    }
    queue = {
        job.id: job for job in listed.values() if not job.ends and job.id in noted and job.name == noted[job.id][1]
    }
    fates: dict[str, bool] = {}

    def lives(job_id: str) -> bool:
        """Whether a job is in the queue and everything it waits for is there too, or made."""
        if job_id not in fates:
            fates[job_id] = False  # nothing waits for itself
            job = queue.get(job_id)
            fates[job_id] = job is not None and (
                not job.waits or (job.reason != NEVER and all(map(met, after(job_id))))
            )
        return fates[job_id]

    def after(job_id: str) -> tuple[str, ...]:
        return noted[job_id][0].after if job_id in noted else ()

    def met(job_id: str) -> bool:
        if job_id not in noted:
            return True
        element = noted[job_id][0]
        return lives(job_id) or all(done(key, span(element, key)) for key in element.stages[:1])

    coverage = Coverage()
    for job_id, (element, unit) in noted.items():
        if job_id not in queue:
            continue
        if not lives(job_id):
            coverage.doomed.append(job_id)
            continue
        for key in element.stages:
            coverage.elements.setdefault(key, []).append(InQueue(queue[job_id], element, unit))
    return coverage


def span(element: Noted, key: str) -> tuple[int, int] | None:
    """The samples that an element draws, if `key` is the stage that it draws samples for."""
    return element.numbers if key.startswith("sample-") else None


def held_words(jobs: Sequence[str]) -> str:
    """What lets held jobs go on, which SLURM never does by itself; empty where there are none."""
    names = ",".join(jobs)
    return f"held until `scontrol release {names}` (an administrator's hold: by an administrator)" if jobs else ""
