"""Cancel what is queued, and submit again what failed. No torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from hdit_repro.jobs import Job
from hdit_repro.launch.graph import Task, required, row_name
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.coverage import Coverage
from hdit_repro.launch.slurm.live import look
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots


class Retry(NamedTuple):
    """Rows of one experiment and scale to be submitted again, and the cluster that they were submitted to.

    `stages` names what was lost; what follows it is submitted with the rows.
    """

    scale: str
    cluster: str
    jobs: tuple[Job, ...]
    stages: tuple[str, ...]


def cancel(
    roots: Roots, tasks: Sequence[Task], shown: Sequence[Task] | None = None, refused: journal.Refused | None = None
) -> list[str]:
    """Cancel every job in the queue that works for some stages and for no others; returns their ids.

    A render with nothing left to wait for goes too, and what was submitted without its id having been written.

    Args:
        roots: the workplace.
        tasks: the stages.
        shown: those of them whose files this user may read; None is all. The others' jobs are cancelled too.
        refused: is told of a journal that this user may not read, whose jobs are not known then; None stops at it.

    Raises:
        UserError: something was submitted, and there is no SLURM here, or it does not answer.
        PermissionError: a journal may not be read, and `refused` is None.
    """
    known = journal.journals(roots, refused)
    live = look(roots, tasks if shown is None else shown, sure=True, refused=lambda _: None)
    ours = {task.key for task in tasks}
    lost = {
        name for name, unit in journal.strays(known).items() if all({*noted.stages} <= ours for noted in unit.elements)
    }
    if not live.sent and not lost:
        return []
    ids = {one.job.id for one in live.covered.all if {*one.noted.stages} <= ours}
    ids = (ids - _needed(live.covered, ids)) | {*live.covered.doomed}
    left = {one.unit for one in live.covered.all if one.job.id not in ids and one.noted.stages != ("render",)}
    renders: dict[str, str] = {}
    for entry in known:
        works = [unit for unit in entry.units if unit.kind != "render"]
        if any({*unit.ids} & ids for unit in works) and not any(unit.name in left for unit in works):
            renders |= {job_id: unit.name for unit in entry.units if unit.kind == "render" for job_id in unit.ids}
    listed = queue.squeue(journal.submitters(roots))
    ids |= {job_id for job_id, name in renders.items() if job_id in listed and listed[job_id].name == name}
    ids |= {job.id for job in listed.values() if job.name in lost}
    found = sorted(ids & {*listed})
    queue.scancel(found)
    return found


def shared(roots: Roots, tasks: Sequence[Task]) -> list[str]:
    """Jobs in the queue that work for some stages, and for others too: `cancel` leaves them."""
    covered, ours = look(roots, tasks, refused=lambda _: None).covered, {task.key for task in tasks}
    met = {one.job.id: {*one.noted.stages} <= ours for task in tasks for one in covered.jobs(task.key)}
    ids = {job_id for job_id, whole in met.items() if whole}
    return sorted((met.keys() - ids) | _needed(covered, ids))


def gone_with(roots: Roots, tasks: Sequence[Task], ids: Collection[str]) -> list[list[str]]:
    """Rows besides those of some stages whose measurement the cancelled jobs would have made: lists of those that are
    one run, as commands take them."""
    noted = (
        unit.elements[place]
        for entry in journal.journals(roots, lambda _: None)
        for unit in entry.units
        for place, job_id in enumerate(unit.ids)
        if job_id in ids
    )
    keys = {key for element in noted for key in element.stages if key.startswith("evaluate-")}
    asked = {job.name for task in tasks for job in task.jobs}
    return [
        names
        for task in known_tasks(roots)
        if task.key in keys and (names := sorted({job.name for job in task.jobs} - asked))
    ]


def _needed(covered: Coverage, ids: set[str]) -> set[str]:
    """Those of some jobs that others in the queue wait for: a training that several rows share."""
    found: set[str] = set()
    while True:
        staying = (one for one in covered.all if one.job.id not in ids or one.job.id in found)
        more = {before for one in staying for before in one.noted.after if before in ids} - found
        if not more:
            return found
        found |= more


def failed(roots: Roots, tasks: Sequence[Task], refused: journal.Refused | None = None) -> list[Retry]:
    """What of the stages failed or was cancelled, by experiment and scale, with the cluster it was last sent to.

    Raises:
        UserError: as `cancel` does.
        PermissionError: a file of a stage may not be read, or a journal, and `refused` is None.
    """
    live = look(roots, tasks, sure=True, refused=refused)
    rows = {task.key: row for task, row in zip(tasks, live.rows, strict=True)}
    lost = [task for task in required(tasks) if rows[task.key].state == "failed"]
    found: dict[tuple[str, str, str], list[Task]] = {}
    for task in lost:
        if sent := live.sent.get(task.key):
            found.setdefault((task.job.experiment, task.job.scale, sent[-1].cluster), []).append(task)
    return [_retry(scale, cluster, members) for (_, scale, cluster), members in found.items()]


def _retry(scale: str, cluster: str, tasks: Sequence[Task]) -> Retry:
    return Retry(
        scale,
        cluster,
        tuple({row_name(job): job for task in tasks for job in task.jobs}.values()),
        tuple(f"{task.name} {task.stage}" for task in tasks),
    )
