"""What is to be run, in which order, at what price. Reads what exists, writes nothing. No torch."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.jobs import Job, find, load
from hdit_repro.launch.bills import Bill, Bills
from hdit_repro.launch.clusters import Cluster
from hdit_repro.launch.graph import Task, required, tasks_for
from hdit_repro.launch.left import share_left
from hdit_repro.launch.part import state_of
from hdit_repro.launch.real import kept_facts, kept_parts
from hdit_repro.launch.room import NOWHERE, Room
from hdit_repro.launch.work import reference_work
from hdit_repro.records.layout import Roots
from hdit_repro.spec.data import Folder

RENDER = "render"

MOST_REPEATS = 1_000
"""Seeds times sampling seeds of a request; a plan holds each of them for every row."""


class Stage(NamedTuple):
    """One stage of the plan.

    Attributes:
        key: its name in `after` ("train-8495533e68c7").
        run: the row it is shown under ("table1/E"); of the render, the experiment.
        names: all rows that share it.
        seed: the run's seed; `sampling_seed` is that of its samples.
        id: the identity of what it makes.
        stage: "train", "sample", "evaluate" or "render".
        after: keys of the stages whose output it needs.
        gpus: how many it gets; 0 is a CPU.
        gpu_hours: over all of them.
        hours: wall time on those GPUs, or on one CPU.
        state: "done", "running", "failed" or "missing".
        basis: what the hours rest on.
        disk: bytes that it leaves, about.
        left: the share of it that is still to be done, 1 to 0; hours and disk are of the whole.
        room: of training, what a step takes of a card's memory, and how its batch fits.
    """

    key: str
    run: str
    names: tuple[str, ...]
    seed: int
    id: str
    stage: str
    after: tuple[str, ...]
    gpus: int
    gpu_hours: float
    hours: float
    state: str
    basis: str
    disk: int = 0
    room: Room = NOWHERE
    sampling_seed: int = 0
    left: float = 1.0

    @property
    def hours_left(self) -> float:
        """Wall time of what is still to be done."""
        return self.hours * self.left

    @property
    def gpu_hours_left(self) -> float:
        """GPU-hours of what is still to be done."""
        return self.gpu_hours * self.left

    @property
    def disk_left(self) -> int:
        """Bytes that it will leave besides those that are there; a training's checkpoints take one another's place."""
        return round(self.disk * self.left) if self.stage == "sample" else self.disk

    def as_row(self) -> dict[str, Any]:
        """The stage as `plan --json` prints it."""
        return {
            **self._asdict(),
            "names": list(self.names),
            "after": list(self.after),
            "room": self.room._asdict(),
            "gpu_hours": round(self.gpu_hours, 4),
            "hours": round(self.hours, 5),
            "left": round(self.left, 5),
        }


def wanted(
    experiment: str,
    scale: str,
    rows: Sequence[str] | None = None,
    seeds: int = 1,
    dataset: Folder | None = None,
    samplings: int = 1,
) -> list[Job]:
    """The jobs of a request: an experiment (or `experiment/row`), some of its rows, and seeds 0 to `seeds` - 1; on
    images of the user's own, if given. Each network is sampled with the sampling seeds 0 to `samplings` - 1.

    Raises:
        UserError: an unknown experiment, row or scale, or fewer than one seed of either kind, or too
            many; several of images of others alone, which no seed changes.
    """
    _refuse_counts(seeds, samplings)
    if rows is not None and not rows:
        raise UserError(
            "no row is named",
            found="an empty --rows",
            expected="names with commas",
            fix="leave --rows out for all rows",
        )
    name, slash, row = experiment.partition("/")
    if slash and rows is not None:
        raise UserError(
            "rows are named twice",
            found=f"{experiment} and --rows {','.join(rows)}",
            expected=f"{name} --rows ...",
            fix="leave one of the two out",
        )
    if slash:
        rows = [row]
    chosen = list(dict.fromkeys(rows)) if rows is not None else None
    first = load(name, scale, chosen, 0, dataset)
    if seeds * samplings > 1 and all(job.run.external for job in first):
        raise UserError(
            "images of others are what they are, whatever the seed",
            found=f"--seeds {seeds}, --sampling-seeds {samplings} of {', '.join(job.name for job in first)}",
            expected="one of each",
            fix="leave --seeds and --sampling-seeds out",
        )
    return [with_seed(job, seed, drawn) for seed in range(seeds) for drawn in range(samplings) for job in first]


def _refuse_counts(seeds: int, samplings: int) -> None:
    """Refuse what is no number of repetitions.

    Raises:
        UserError: fewer than one seed of either kind, or too many.
    """
    if seeds < 1:
        raise UserError(
            "there is nothing to run without a seed",
            found=f"--seeds {seeds}",
            expected="1 or more",
            fix="leave --seeds out for one",
        )
    if samplings < 1:
        raise UserError(
            "there is nothing to measure without samples",
            found=f"--sampling-seeds {samplings}",
            expected="1 or more",
            fix="leave --sampling-seeds out for one",
        )
    if seeds * samplings > MOST_REPEATS:
        raise UserError(
            "too many repetitions for one request",
            found=f"--seeds {seeds}, --sampling-seeds {samplings}",
            expected=f"at most {MOST_REPEATS:,} of them multiplied",
            fix="ask for fewer",
        )


def only(name: str, scale: str, dataset: Folder | None = None, samplings: int = 1) -> list[Job]:
    """One run by its name, once for each of `samplings` sampling seeds.

    Raises:
        UserError: no such run, or fewer than one sampling seed.
    """
    job = find(name, scale, dataset=dataset)
    return wanted(f"{job.experiment}/{job.row}", scale, dataset=dataset, samplings=samplings)


def with_seed(job: Job, seed: int, drawn: int) -> Job:
    """The same row trained with seed `seed`, and sampled `drawn` sampling seeds after the row's own."""
    if (job.run.seed, drawn) == (seed, 0):
        return job
    sampling = msgspec.structs.replace(job.run.sampling, seed=job.run.sampling.seed + drawn)
    return msgspec.structs.replace(job, run=msgspec.structs.replace(job.run, seed=seed, sampling=sampling))


def make_plan(jobs: Sequence[Job], roots: Roots, cluster: Cluster) -> list[Stage]:
    """Every stage of the jobs once, in an order in which they can be run, and one render at the end."""
    tasks = tasks_for(jobs, roots)
    open_keys = {task.key for task in required(tasks)}
    bills, real = Bills(cluster), _reference_images(tasks, open_keys)
    stages = [
        _stage(task, bills.of(task.job, task.stage, task.jobs, real.get(task.key, 0)), task.key in open_keys)
        for task in tasks
    ]
    return [*stages, _render(jobs, stages)] if stages else []


def to_run(plan: Iterable[Stage]) -> list[Stage]:
    """The stages that are not done, the render aside."""
    return [stage for stage in plan if stage.state != "done" and stage.stage != RENDER]


def gpu_hours(stages: Iterable[Stage]) -> float:
    """GPU-hours that some stages together still take."""
    return sum(stage.gpu_hours_left for stage in stages)


def _reference_images(tasks: Iterable[Task], open_keys: Container[str]) -> dict[str, int]:
    """Images of references that open evaluations measure, by key: what several need is measured by the first, and what
    is kept by none."""
    met: set[Hashable] = set()
    found: dict[str, int] = {}
    measuring = [task for task in tasks if task.stage == "evaluate" and task.key in open_keys]
    facts = kept_facts() if measuring else []
    for task in measuring:
        parts = reference_work(task.job.run)
        met |= kept_parts(task.job.run, facts)
        found[task.key] = sum(images for part, images in parts.items() if part not in met)
        met |= parts.keys()
    return found


def _stage(task: Task, bill: Bill, is_open: bool) -> Stage:
    job = task.job
    return Stage(
        key=task.key,
        run=job.name,
        names=tuple(dict.fromkeys(job.name for job in task.jobs)),
        seed=job.run.seed,
        id=task.key.rpartition("-")[2],
        stage=task.stage,
        after=(task.folder.stage_key(task.before),) if task.before else (),
        gpus=bill.price.gpus,
        gpu_hours=bill.price.gpu_hours,
        hours=bill.price.hours,
        state=state_of(task.folder, task.stage) if is_open else "done",
        basis=bill.price.basis,
        disk=bill.disk,
        room=bill.room,
        sampling_seed=0 if task.stage == "train" else job.run.sampling.seed,
        left=share_left(task) if is_open else 0.0,
    )


def _render(jobs: Sequence[Job], stages: Sequence[Stage]) -> Stage:
    """Renders what is measured; done again whenever it is asked for, since it takes seconds."""
    names = tuple(dict.fromkeys(job.experiment for job in jobs))
    return Stage(
        key=f"{RENDER}-{'-'.join(names)}",
        run=names[0],
        names=names,
        seed=0,
        id=jobs[0].scale,
        stage=RENDER,
        after=tuple(stage.key for stage in stages if stage.stage == "evaluate"),
        gpus=0,
        gpu_hours=0.0,
        hours=0.0,
        state="missing",
        basis="seconds",
    )
