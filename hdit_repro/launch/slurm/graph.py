"""From what is missing to as few scheduler objects as possible: elements, grouped into units. Pure; no torch.

Per row: train, then an array of sample shards, of which the one that ends last measures. Elements that need the same
and wait for the same are one array. Rows that take little share an allocation and need one element in all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import drawn, ranges
from hdit_repro.launch.plan import Stage
from hdit_repro.launch.slurm.coverage import Coverage
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.spec.sampling import Sampling

Kind = Literal["pack", "train", "sample", "evaluate", "render"]

SLACK = 1.5
"""How many times the planned hours a job asks for; the plan is an estimate."""

LEAST_MINUTES = 30
"""The shortest time asked for: below ten minutes submitit takes each preemption for a time-out."""


class Resources(NamedTuple):
    """What a job takes: nodes, tasks on each, GPUs of each task (0 or 1), minutes, and time-outs that it may have."""

    nodes: int
    tasks: int
    gpus: int
    minutes: int
    time_outs: int

    @property
    def all_gpus(self) -> int:
        return self.nodes * self.tasks * self.gpus


class Element(NamedTuple):
    """One job of the scheduler, or one element of an array: stages in order, of the first those `numbers` if any.

    `after` names what must end well before: other elements of this graph by name, or jobs in the queue by id.
    """

    name: str
    kind: Kind
    tasks: tuple[Task, ...]
    numbers: range | None
    resources: Resources
    hours: float
    after: tuple[str, ...]


class Group(NamedTuple):
    """One call of sbatch: elements of one kind that take the same and wait for the same."""

    kind: Kind
    elements: tuple[Element, ...]

    @property
    def resources(self) -> Resources:
        return self.elements[0].resources

    @property
    def after(self) -> tuple[str, ...]:
        return self.elements[0].after


def graph(
    left: Sequence[Task],
    costs: Mapping[str, Stage],
    covered: Coverage,
    profile: Slurm,
) -> list[Group]:
    """The units to submit, each after those that it waits for.

    Args:
        left: the stages to be run, rows in order, stages in order within a row.
        costs: the plan's stages by key.
        covered: what is in the queue already.
        profile: the cluster.
    """
    elements: list[Element] = []
    small = {run: tasks for run, tasks in by_run(left).items() if _is_small(tasks, costs, covered, profile)}
    elements += packs(small, costs, profile)
    for run, tasks in by_run(left).items():
        if run not in small:
            elements += _of_run(tasks, costs, covered, profile)
    return grouped(elements, profile.max_array_size)


def by_run(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by the run whose checkpoint they share."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.folder.run.id, []).append(task)
    return found


def _is_small(tasks: Sequence[Task], costs: Mapping[str, Stage], covered: Coverage, profile: Slurm) -> bool:
    """Whether a row's stages together take little, on one GPU, and none of them is in the queue."""
    hours = sum(costs[task.key].gpu_hours for task in tasks)
    one = all(costs[task.key].gpus <= 1 for task in tasks)
    return one and hours < profile.pack_hours and not any(covered.jobs(task.key) for task in tasks)


def packs(small: Mapping[str, Sequence[Task]], costs: Mapping[str, Stage], profile: Slurm) -> list[Element]:
    """Rows that take little, laid into allocations of as many GPUs as there are rows, a node's at most."""
    hours = {run: sum(costs[task.key].gpu_hours for task in tasks) for run, tasks in small.items()}
    room = profile.pack_hours * profile.gpus_per_node
    bins: list[list[str]] = [[] for _ in range(math.ceil(sum(hours.values()) / room) if hours else 0)] or [[]]
    for run in sorted(small, key=lambda run: -hours[run]):
        min(bins, key=lambda runs: sum(hours[other] for other in runs)).append(run)
    found: list[Element] = []
    for runs in filter(None, bins):
        workers = min(len(runs), profile.gpus_per_node)
        most = max(max(hours[run] for run in runs), sum(hours[run] for run in runs) / workers)
        tasks = tuple(task for run in small if run in runs for task in small[run])
        found.append(Element(f"pack-{runs[0]}", "pack", tasks, None, _resources(profile, workers, most), most, ()))
    return found


def _of_run(
    tasks: Sequence[Task],
    costs: Mapping[str, Stage],
    covered: Coverage,
    profile: Slurm,
) -> list[Element]:
    found: list[Element] = []
    trained: tuple[str, ...] = ()
    for task in tasks:
        if task.stage == "train":
            trained = tuple(covered.ids(task.key))
            if not trained:
                cost = costs[task.key]
                trained = (task.key,)
                found.append(
                    Element(
                        task.key, "train", (task,), None, _resources(profile, cost.gpus, cost.hours), cost.hours, ()
                    )
                )
    for sampling, measures in by_sampling(tasks):
        found += _of_sampling(sampling, measures, trained, costs, covered, profile)
    return found


def by_sampling(tasks: Sequence[Task]) -> list[tuple[Task | None, list[Task]]]:
    """A run's sample stages, each with the evaluations that read it; None where the samples are all there."""
    found: dict[str, tuple[Task | None, list[Task]]] = {}
    for task in tasks:
        if task.stage == "sample":
            found[task.key] = (task, [])
        elif task.stage == "evaluate":
            found.setdefault(task.folder.stage_key("sample"), (None, []))[1].append(task)
    return list(found.values())


def _of_sampling(
    sampling: Task | None,
    measures: Sequence[Task],
    trained: tuple[str, ...],
    costs: Mapping[str, Stage],
    covered: Coverage,
    profile: Slurm,
) -> list[Element]:
    shards: list[Element] = []
    before: tuple[str, ...] = ()
    uncovered = [task for task in measures if not covered.jobs(task.key)]
    waiting = covered.jobs(sampling.key) if sampling else []
    if sampling is not None:
        everything = range(sampling.job.run.sampling.count)
        there = drawn(sampling.folder) | covered.numbers(sampling.key, len(everything))
        missing = [number for number in everything if number not in there] if there else everything
        along = [] if waiting and uncovered else measures
        shards = _shards(sampling, along, missing, trained, costs, profile)
        before = (*(element.job.id for element in waiting), *(shard.name for shard in shards))
    if not uncovered or (shards and not waiting):
        return shards
    for task in uncovered:
        hours = costs[task.key].hours
        shards.append(Element(task.key, "evaluate", (task,), None, _resources(profile, 1, hours), hours, before))
    return shards


def _shards(
    task: Task,
    measures: Sequence[Task],
    missing: Sequence[int],
    trained: tuple[str, ...],
    costs: Mapping[str, Stage],
    profile: Slurm,
) -> list[Element]:
    """Missing samples, cut into shards of about `shard_hours` at multiples of a batch; each may be the last to end."""
    sampling: Sampling = task.job.run.sampling
    cost = costs[task.key]
    batches = math.ceil(sampling.count / profile.sample_batch)
    count = min(batches, math.ceil(cost.gpu_hours / profile.shard_hours)) or 1
    size = math.ceil(batches / count) * profile.sample_batch
    evaluating = sum(costs[measure.key].hours for measure in measures)
    found: list[Element] = []
    for numbers in ranges(missing, size):
        hours = cost.gpu_hours * len(numbers) / sampling.count
        name = f"{task.key}[{numbers.start}:{numbers.stop}]"
        resources = _resources(profile, 1, cost.gpu_hours * size / sampling.count + evaluating)
        found.append(Element(name, "sample", (task, *measures), numbers, resources, hours, trained))
    return found


def _resources(profile: Slurm, gpus: int, hours: float) -> Resources:
    """GPUs laid out on nodes, one task each; time with slack, up to the limit, and time-outs for the rest."""
    limit = int(profile.time_limit_hours * 60)
    step = 6 * 60 if hours > 8 else LEAST_MINUTES  # coarse, so that rows of about one length share an array
    wanted = max(LEAST_MINUTES, math.ceil(hours * 60 * SLACK / step) * step)
    on_a_node = min(gpus, profile.gpus_per_node)
    time_outs = 3 + 2 * math.ceil(hours * 60 * SLACK / limit)
    return Resources(max(1, math.ceil(gpus / profile.gpus_per_node)), on_a_node, 1, min(limit, wanted), time_outs)


def grouped(elements: Iterable[Element], cap: int) -> list[Group]:
    """Elements of one kind with the same resources and the same `after`, as arrays of at most `cap`."""
    alike: dict[tuple[Kind, Resources, tuple[str, ...]], list[Element]] = {}
    for element in elements:
        alike.setdefault((element.kind, element.resources, element.after), []).append(element)
    order = ("pack", "train", "sample", "evaluate", "render")
    found = [
        Group(kind, tuple(members[start : start + cap]))
        for (kind, _, _), members in alike.items()
        for start in range(0, len(members), cap)
    ]
    return sorted(found, key=lambda group: order.index(group.kind))
