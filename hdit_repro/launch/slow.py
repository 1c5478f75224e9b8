"""Networks of mini or paper scale on a machine without a GPU: allowed, and told beforehand. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from hdit_repro.launch.clusters import Cluster, Local, has_gpu
from hdit_repro.launch.graph import Task
from hdit_repro.launch.left import share_left
from hdit_repro.launch.price import cpu_hours
from hdit_repro.records.imported import is_imported


def on_cpus(left: Sequence[Task], cluster: Cluster, device: str = "auto") -> str:
    """A line for stages whose networks a CPU is slow for, with what they take there; empty where there are none.

    Args:
        left: what is to be run.
        cluster: where; one of SLURM's has GPUs.
        device: what the command was told to compute on.
    """
    slow = [task for task in left if task.folder.scale != "smoke" and _calls_network(task)]
    by_hand = device.startswith("cpu")
    if not isinstance(cluster, Local) or not slow or not (by_hand or (device == "auto" and not has_gpu())):
        return ""
    hours = sum(cpu_hours(task.job.run, task.stage, cluster) * share_left(task) for task in slow)
    found = "--device cpu uses none" if by_hand else "none is here"
    return (
        f"warning: {slow[0].folder.scale} scale is made for a GPU, and {found}: on CPUs what is left takes about "
        f"{hours:,.{0 if hours >= 10 else 1}f} CPU-hours, and a step may take minutes; --scale smoke is made for CPUs"
    )


def _calls_network(task: Task) -> bool:
    """Whether a stage trains a network or samples from one; nothing trains one that was trained elsewhere."""
    if task.job.run.external or task.stage == "evaluate":
        return False
    return task.stage == "sample" or not is_imported(task.job.run)
