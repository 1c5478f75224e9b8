"""`plan`: what is to be run, in which order, at what price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, group, remark, table
from hdit_repro.cli.replaced import say_replaced
from hdit_repro.errors import counted

if TYPE_CHECKING:
    from hdit_repro.launch.clusters import Cluster
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.plan import Stage

app = group()

SPARE = ("disk", "GPUs", "memory", "also", "price")
"""Columns that go on a narrow terminal, the first of them first."""


@app.command("plan")
def plan(
    experiment: options.Experiment,
    cluster: options.Cluster = "local",
    scale: options.Scale = "paper",
    rows: options.Rows = None,
    seeds: options.Seeds = 1,
    sampling_seeds: options.SamplingSeeds = 1,
    own: options.OwnData = None,
    as_objects: options.Json = False,
) -> None:
    """Show what an experiment would run, what of it is done, and what the rest costs; nothing is written.

    Example: hdit-repro plan table1 --cluster a100
    """
    from hdit_repro.launch.clusters import Slurm, read_cluster, workplace
    from hdit_repro.launch.graph import required, tasks_for
    from hdit_repro.launch.lost import lost_words
    from hdit_repro.launch.plan import make_plan, wanted
    from hdit_repro.launch.slurm.shares import check_shares

    profile = read_cluster(cluster)
    dataset = options.own_data(own, note=False)
    asked = wanted(experiment, scale, options.names(rows), seeds, dataset, sampling_seeds)
    options.large_enough(own, asked)
    say_replaced(asked)
    roots = workplace(cluster=profile)
    stages = make_plan(asked, roots, profile)
    left = required(tasks_for(asked, roots))
    if isinstance(profile, Slurm):
        check_shares(left, stages, profile)
    for line in lost_words(left):
        remark(line)
    say_slow(left, profile)
    say_unseen(left, profile)
    if as_objects:
        as_json([stage.as_row() for stage in stages])
        return
    idle = 0.0
    if isinstance(profile, Slurm):
        from hdit_repro.launch.slurm.bill import planned_idle

        idle = planned_idle(asked, roots, stages, profile)
    print_plan(stages, profile, idle)


def say_slow(left: Sequence[Task], cluster: Cluster) -> None:
    """Say of networks of mini or paper scale that there is no GPU for them here."""
    from hdit_repro.launch.slow import on_cpus

    if slow := on_cpus(left, cluster):
        remark(slow)


def say_unseen(left: Sequence[Task], cluster: Cluster) -> None:
    """Say which data sets that are needed are not found from here."""
    from hdit_repro.launch.images import unseen

    for line in unseen(left, cluster):
        remark(line)


def print_plan(stages: Sequence[Stage], cluster: Cluster, idle: float = 0.0) -> None:
    """The stages as a table, and what they come to.

    Args:
        stages: of the plan.
        cluster: where they run.
        idle: GPU-hours in which the GPUs of packs wait, billed all the same.
    """
    from hdit_repro.launch.clusters import Slurm
    from hdit_repro.launch.plan import gpu_hours, to_run

    cells = [
        (
            _named(stage),
            stage.stage,
            _state(stage),
            str(stage.gpus) if stage.gpus else "",
            f"{stage.gpu_hours:,.2f}" if stage.gpus else "",
            _wall(stage.hours),
            _dollars(stage, cluster),
            _size(stage.disk) if stage.disk else "",
            stage.room.words,
            ", ".join(name for name in stage.names if name != stage.run),
        )
        for stage in stages
    ]
    headers = ("run", "stage", "state", "GPUs", "GPU-hours", "time", "price", "disk", "memory", "also")
    used = [place for place, name in enumerate(headers) if name != "price" or isinstance(cluster, Slurm)]
    chosen = [tuple(row[place] for place in used) for row in (headers, *cells)]
    table(chosen[0], chosen[1:], right=("GPUs", "GPU-hours", "time", "price", "disk"), spare=SPARE)
    left = to_run(stages)
    total = sum(stage.stage != "render" for stage in stages)
    remark(f"{total - len(left)} of {counted(total, 'stage')} done")
    remark(f"to go: {_bill(left, gpu_hours(left) + idle, cluster)}")
    if idle >= 0.005 and isinstance(cluster, Slurm):
        remark(f"packs: {idle:,.2f} {cluster.gpu}-hours of these, for a pack holds its GPUs until its last row is done")
    if left:
        remark(f"disk: about {_size(sum(stage.disk_left for stage in left))} more")
    for basis in dict.fromkeys(stage.basis for stage in left):
        remark(f"basis: {basis}")
    _say_room(left, cluster)


def _say_room(left: Sequence[Stage], cluster: Cluster) -> None:
    """What the column of memory rests on."""
    from hdit_repro.cost.cards import find_card
    from hdit_repro.launch.clusters import card_of
    from hdit_repro.launch.price import YARDSTICK_CARD
    from hdit_repro.launch.room import LEFT_FREE

    if not any(stage.room.memory for stage in left):
        return
    card = card_of(cluster)
    if not any(stage.room.card_memory for stage in left):
        remark("memory: of one process, estimated: weights, gradients, moments, averages, activations")
        if card and find_card(card) is None:
            remark(f"memory: held against no card's, for hdit_repro/cost/cards.py has no {card}")
        return
    card = card or f"{YARDSTICK_CARD}, for none is known here"
    remark(f"memory: of one GPU ({card}), estimated; {LEFT_FREE} % are kept free")


def _named(stage: Stage) -> str:
    seeds = (("seed", stage.seed), ("sampling", stage.sampling_seed))
    return " ".join((stage.run, *(f"{kind} {seed}" for kind, seed in seeds if seed)))


def _state(stage: Stage) -> str:
    """The state, and how much of the stage is kept already where it is not done; tables are made anew each time."""
    from hdit_repro.launch.left import there
    from hdit_repro.launch.plan import RENDER

    if stage.stage == RENDER:
        return "each time"
    kept = there(stage.left)
    return f"{stage.state}, {kept}" if kept and stage.state != "done" else stage.state


def _bill(left: Sequence[Stage], hours: float, cluster: Cluster) -> str:
    from hdit_repro.launch.clusters import Slurm
    from hdit_repro.launch.price import unit
    from hdit_repro.machine import cpus_here
    from hdit_repro.render.cells import hours as in_words

    if not left:
        return "nothing"
    if isinstance(cluster, Slurm):
        longest = max(stage.hours_left for stage in left)
        jobs = f"the longest stage takes {_wall(longest)} of at most {cluster.time_limit_hours:g} h a job"
        cost = hours * cluster.price_per_gpu_hour
        return f"{in_words(hours)} {cluster.gpu}-hours on partition {cluster.partition}, about ${cost:,.0f}; {jobs}"
    if hours:
        return f"{in_words(hours)} {unit(cluster)}-hours"
    seconds = 3600 * sum(stage.hours_left for stage in left)
    short = seconds < 90
    taken = counted(round(seconds if short else seconds / 60), "CPU-second" if short else "CPU-minute")
    return f"{taken}; this machine has {counted(cpus_here(), 'CPU')}"


def _wall(hours: float) -> str:
    if hours == 0:
        return ""
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"


def _dollars(stage: Stage, cluster: Cluster) -> str:
    """What a stage costs at the cluster's price of a GPU-hour; a local machine has none."""
    from hdit_repro.launch.clusters import Slurm

    if not isinstance(cluster, Slurm) or not stage.gpus:
        return ""
    dollars = stage.gpu_hours * cluster.price_per_gpu_hour
    return f"${dollars:,.2f}" if dollars < 100 else f"${dollars:,.0f}"


def _size(size: int) -> str:
    """Bytes for a person: "5.6 GB"."""
    return (
        f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.0f} kB"
    )
