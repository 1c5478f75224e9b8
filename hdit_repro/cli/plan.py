"""`plan`: what is to be run, in which order, at what price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, group, remark, table

if TYPE_CHECKING:
    from hdit_repro.launch.clusters import Cluster
    from hdit_repro.launch.plan import Stage

app = group()


@app.command("plan")
def plan(
    experiment: options.Experiment,
    cluster: options.Cluster = "local",
    scale: options.Scale = "paper",
    rows: options.Rows = None,
    seeds: options.Seeds = 1,
    own: options.OwnData = None,
    as_objects: options.Json = False,
) -> None:
    """Show what an experiment would run, what of it is done, and what the rest costs; nothing is written.

    Example: hdit-repro plan table1 --cluster a100
    """
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.plan import make_plan, wanted

    profile = read_cluster(cluster)
    stages = make_plan(
        wanted(experiment, scale, options.names(rows), seeds, options.own_data(own, note=False)), workplace(), profile
    )
    if as_objects:
        as_json([stage.as_row() for stage in stages])
        return
    print_plan(stages, profile)


def print_plan(stages: Sequence[Stage], cluster: Cluster) -> None:
    """The stages as a table, and what they come to."""
    from hdit_repro.launch.plan import gpu_hours, to_run

    cells = [
        (
            stage.run if stage.seed == 0 else f"{stage.run} seed {stage.seed}",
            stage.stage,
            stage.state,
            str(stage.gpus) if stage.gpus else "",
            f"{stage.gpu_hours:,.2f}" if stage.gpus else "",
            _wall(stage.hours),
            stage.room.words,
            ", ".join(name for name in stage.names if name != stage.run),
        )
        for stage in stages
    ]
    headers = ("run", "stage", "state", "GPUs", "GPU-hours", "time", "memory", "also")
    table(headers, cells, right=("GPUs", "GPU-hours", "time"))
    left = to_run(stages)
    total = sum(stage.stage != "render" for stage in stages)
    remark(f"{total - len(left)} of {total} stages done")
    remark(f"to go: {_bill(left, gpu_hours(left), cluster)}")
    for basis in dict.fromkeys(stage.basis for stage in left):
        remark(f"basis: {basis}")
    _say_room(left, cluster)


def _say_room(left: Sequence[Stage], cluster: Cluster) -> None:
    """What the column of memory rests on."""
    from hdit_repro.launch.clusters import card_of
    from hdit_repro.launch.price import YARDSTICK_CARD
    from hdit_repro.launch.room import LEFT_FREE

    if not any(stage.room.memory for stage in left):
        return
    if not any(stage.room.card_memory for stage in left):
        remark("memory: of one process, estimated: weights, gradients, moments, averages, activations")
        return
    card = card_of(cluster) or f"{YARDSTICK_CARD}, for none is known here"
    remark(f"memory: of one GPU ({card}), estimated; {LEFT_FREE} % are kept free")


def _bill(left: Sequence[Stage], hours: float, cluster: Cluster) -> str:
    from hdit_repro.launch.clusters import Slurm, cpus_here
    from hdit_repro.launch.price import unit

    if not left:
        return "nothing"
    if isinstance(cluster, Slurm):
        longest = max(stage.hours for stage in left)
        jobs = f"the longest stage takes {_wall(longest)} of at most {cluster.time_limit_hours:g} h a job"
        cost = hours * cluster.price_per_gpu_hour
        return f"{hours:,.1f} {cluster.gpu}-hours on partition {cluster.partition}, about ${cost:,.0f}; {jobs}"
    if hours:
        return f"{hours:,.1f} {unit(cluster)}-hours"
    minutes = 60 * sum(stage.hours for stage in left)
    return f"{minutes:.0f} CPU-minutes; this machine has {cpus_here()} CPUs"


def _wall(hours: float) -> str:
    if hours == 0:
        return ""
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"
