"""What a graph's jobs hold of GPUs, those that wait for others in a pack included. Pure; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hdit_repro.jobs import Job
from hdit_repro.launch.graph import required, tasks_for
from hdit_repro.launch.plan import Stage, gpu_hours
from hdit_repro.launch.slurm.coverage import Coverage
from hdit_repro.launch.slurm.graph import Element, by_run, graph
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots


def held(elements: Sequence[Element], costs: Mapping[str, Stage]) -> float:
    """GPU-hours that elements are billed for: stages as far as they are not done, each once, of sampling the numbers
    that are drawn; and what packs idle.

    Args:
        elements: of a graph.
        costs: the plan's stages by key.
    """
    whole = {task.key for one in elements for task in (one.tasks if one.numbers is None else one.tasks[1:])}
    shards = sum(
        costs[one.tasks[0].key].gpu_hours * len(one.numbers) / one.tasks[0].job.run.sampling.count
        for one in elements
        if one.numbers is not None
    )
    return shards + gpu_hours(costs[key] for key in whole) + idle(elements, costs)


def idle(elements: Iterable[Element], costs: Mapping[str, Stage]) -> float:
    """GPU-hours in which GPUs of packs wait: all are held until the last row is done."""
    waiting = 0.0
    for one in elements:
        if one.kind == "pack":
            hours = [gpu_hours(costs[task.key] for task in tasks) for tasks in by_run(one.tasks).values()]
            gpus = one.resources.all_gpus
            waiting += max(gpus * max(hours) - sum(hours), 0.0)
    return waiting


def planned_idle(jobs: Sequence[Job], roots: Roots, plan: Iterable[Stage], profile: Slurm) -> float:
    """What packs would idle if all that is left of some rows were submitted now, with nothing in the queue."""
    costs = {stage.key: stage for stage in plan}
    groups = graph(required(tasks_for(jobs, roots)), costs, Coverage(), profile)
    return idle((one for group in groups for one in group.elements), costs)
