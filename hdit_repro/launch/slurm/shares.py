"""Whether the GPUs that a profile gives a training can share its batch. Pure; no torch."""

from __future__ import annotations

from collections.abc import Iterable

from hdit_repro.launch.graph import Task
from hdit_repro.launch.plan import Stage
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.training.rendezvous import check_size


def check_shares(left: Iterable[Task], plan: Iterable[Stage], profile: Slurm) -> None:
    """Refuse GPUs that do not divide the batch of a training, which it would refuse itself after its wait.

    Args:
        left: what is to be run.
        plan: the stages with their GPUs.
        profile: the cluster.

    Raises:
        UserError: with the numbers next to it that do, and where they are set.
    """
    gpus = {stage.key: stage.gpus for stage in plan if stage.stage == "train"}
    for task in left:
        if gpus.get(task.key):
            field = "train_gpus" if task.folder.scale == "paper" else "train_gpus_below_paper"
            where = f"set {field} in jobs/clusters/{profile.name}.toml to"
            check_size(task.job.run.training, gpus[task.key], fix=where)
