"""Data sets that stages need and that are not to be seen from here: told before a job waits for them. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hdit_repro.data.whereabouts import DATA_VARIABLE, locate
from hdit_repro.errors import UserError, counted
from hdit_repro.launch.clusters import Cluster, Slurm
from hdit_repro.launch.graph import Task
from hdit_repro.records.imported import is_imported
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Data, Emoji, Folder
from hdit_repro.spec.evaluation import DatasetReference


def unseen(left: Iterable[Task], cluster: Cluster) -> list[str]:
    """A line for each data set that stages need and that is not found from here: a node may see more.

    Args:
        left: what is to be run.
        cluster: where; a profile of SLURM may name another folder of data sets for its jobs.
    """
    needing: dict[tuple[str, int], list[Task]] = {}
    for task in left:
        data = task.job.run.data
        if _needs_images(task) and not isinstance(data.dataset, Emoji | Folder):
            needing.setdefault((kind_of(data.dataset), data.resolution), []).append(task)
    root = _root(cluster)
    met = {found: tasks for tasks in needing.values() if (found := _missing(tasks[0].job.run.data, root))}
    return [_line(found, tasks, cluster) for found, tasks in met.items()]


def _needs_images(task: Task) -> bool:
    """Whether a stage opens the run's data set: to train on it, or to compare with it."""
    run = task.job.run
    if task.stage == "train":
        return not run.external and not is_imported(run)
    return task.stage == "evaluate" and isinstance(run.evaluation.reference, DatasetReference)


def _root(cluster: Cluster) -> str:
    """The folder of data sets as a job sees it."""
    here = os.environ.get(DATA_VARIABLE, "")
    return cluster.environment.get(DATA_VARIABLE, here) if isinstance(cluster, Slurm) else here


def _missing(data: Data, root: str) -> str:
    """That a data set is not found, and where it was looked for; empty where it is there."""
    name = kind_of(data.dataset)
    try:
        locate(name, data, root)
    except UserError as error:
        return f"the data set {name!r} is not found from here ({error.found})"
    except OSError as error:
        return f"the data set {name!r} cannot be looked for from here ({error.filename}: {error.strerror})"
    return ""


def _line(found: str, tasks: list[Task], cluster: Cluster) -> str:
    """What is not found, what needs it, and what tells more."""
    job = tasks[0].job
    need = f"{counted(len(tasks), 'stage')} to be run {'needs' if len(tasks) == 1 else 'need'} it"
    nodes = ", on nodes that may see more" if isinstance(cluster, Slurm) else ""
    return f"{found}; {need}{nodes}; `hdit-repro doctor --for {job.experiment} --scale {job.scale}` tells what is here"
