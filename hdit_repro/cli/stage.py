"""One stage of one run in this process: `train`, `sample`, `eval`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import to_builtins

from hdit_repro.cli import options, training_options
from hdit_repro.cli.output import as_json, data, group, near, remark
from hdit_repro.cli.protocols import check_names, show_protocols
from hdit_repro.cli.replaced import say_replaced
from hdit_repro.errors import RunError, UserError
from hdit_repro.records.layout import STAGES

if TYPE_CHECKING:
    from hdit_repro.launch.graph import Task
    from hdit_repro.stages.settings import Settings

app = group()

COMMAND_OF = {"train": "train", "sample": "sample", "evaluate": "eval"}

Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1.")]
Threads = Annotated[int, typer.Option("--threads", metavar="N", help="CPU threads; 0 leaves torch's choice.")]


class Keep(StrEnum):
    """What becomes of the images of samples."""

    auto = "auto"
    zip = "zip"
    npz = "npz"
    none = "none"


class Way(StrEnum):
    """How the network is called while samples are drawn."""

    eager = "eager"
    compile = "compile"
    graph = "graph"


Network = Annotated[
    Way, typer.Option("--network", help="As it is, by torch.compile, or on a card replayed as a CUDA graph.")
]
KeepImages = Annotated[
    Keep,
    typer.Option(
        "--keep-images", help="Beside the features: auto (up to 256 MiB), none, or all, written as zip or npz."
    ),
]


@app.command("train")
def train(
    run: options.RunOption,
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    device: Device = "auto",
    threads: Threads = 0,
    distributed: training_options.Distributed = training_options.Find.auto,
    microbatch: training_options.Microbatch = 0,
    time_limit: training_options.TimeLimit = 0.0,
    unreadable: training_options.Unreadable = training_options.OnUnreadable.fatal,
    ema_decay: training_options.EmaDecay = None,
    snapshot: training_options.Snapshot = None,
    recompute: training_options.Recompute = False,
    compiled: training_options.Compiled = False,
    deterministic: training_options.Deterministic = False,
    tensorboard: training_options.TensorBoard = False,
    save_seconds: training_options.SaveSeconds = 600.0,
    log_every: training_options.LogEvery = 10,
) -> None:
    """Train a run, from its newest checkpoint if there is one; with torchrun or srun, as several processes.

    Example: hdit-repro train --run table1/E --scale smoke
    """
    from hdit_repro.stages.settings import HowToTrain, Settings

    try:
        how = HowToTrain(
            microbatch=microbatch,
            recompute=recompute,
            compile=compiled,
            deterministic=deterministic,
            unreadable=unreadable.value,
            ema_decays=tuple(sorted(set(ema_decay or []))),
            snapshots=tuple(snapshot or []),
            tensorboard=tensorboard,
            save_seconds=save_seconds,
            log_every=log_every,
        )
    except ValueError as error:
        raise UserError(
            "a training cannot run so",
            found=str(error),
            expected="options within their bounds",
            fix="correct the option that is named",
        ) from error
    settings = Settings(device, threads, distributed=distributed.value, time_limit=time_limit, training=how)
    _outputs(_execute("train", run, scale, own, settings))


@app.command("sample")
def sample(
    run: options.RunOption,
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    device: Device = "auto",
    threads: Threads = 0,
    keep_images: KeepImages = Keep.auto,
    network: Network = Way.eager,
    sampling_seeds: options.SamplingSeeds = 1,
) -> None:
    """Draw the samples of a run; below paper scale it is trained first where it is not.

    Example: hdit-repro sample --run table1/E --scale smoke
    """
    from hdit_repro.stages.settings import HowToSample, Settings

    how = HowToSample(network=network.value)
    settings = Settings(device, threads, keep_images=keep_images.value, distributed="none", sampling=how)
    done = _execute("sample", run, scale, own, settings, sampling_seeds)
    from hdit_repro.stages.sample import show_first, write_images

    for task in done:  # samples that were there before have their pictures now too
        show_first(task.folder)
        if keep_images in (Keep.zip, Keep.npz):
            remark(f"images of {task.name}: {near(write_images(task.job, task.folder, keep_images.value))}")
    _outputs(done)


@app.command("eval")
def evaluate(
    run: options.RunOption,
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    device: Device = "auto",
    threads: Threads = 0,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", metavar="NAMES", help="Show these protocols side by side; all, or names with commas."
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="KINDS", help="With --protocol: all, or kinds; else frechet.")
    ] = None,
    sampling_seeds: options.SamplingSeeds = 1,
    as_objects: options.Json = False,
) -> None:
    """Measure the samples of a run and write the record; below paper scale, train and sample first what is missing.

    Example: hdit-repro eval --run table1/E --scale smoke
    """
    from hdit_repro.stages.settings import Settings

    kinds = metrics or "frechet"
    check_names("all" if protocol is None else protocol, kinds)
    if metrics is not None and protocol is None:
        raise UserError(
            "the metrics of a record are the row's own",
            found=f"--metrics {metrics} without --protocol",
            expected="--protocol too, for a table beside the record",
            fix=f"hdit-repro eval --run {run} --scale {scale}{options.on_data(own)} --protocol all --metrics {metrics}",
        )
    done = _execute("evaluate", run, scale, own, Settings(device, threads, distributed="none"), sampling_seeds)
    if protocol is not None:
        show_protocols(done, device, threads, protocol, kinds, as_objects)
    elif as_objects:
        from hdit_repro.records.store import read

        as_json([to_builtins(read(task.folder.record)) for task in done])
    else:
        _outputs(done)


def _execute(
    stage: str,
    run: str,
    scale: str,
    own: Path | None,
    settings: Settings,
    samplings: int = 1,
) -> list[Task]:
    """Run a stage of a run, and what it needs of the stages before it; returns the stage, once a set of samples.

    Raises:
        UserError: at paper scale, a stage before it is not done: hours of GPUs are not begun in passing; or it needs an
            imported checkpoint that is not here.
    """
    from hdit_repro.launch.cards import mend_cards
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.describe import describe
    from hdit_repro.launch.graph import tasks_for
    from hdit_repro.launch.lost import refuse_lost
    from hdit_repro.launch.plan import only
    from hdit_repro.launch.slow import on_cpus
    from hdit_repro.training.rendezvous import ALONE, place

    jobs, roots = only(run, scale, options.own_data(own), samplings), workplace()
    options.large_enough(own, jobs)
    say_replaced(jobs)
    if stage == "train" and jobs[0].run.external:
        raise UserError(
            "images that others made have nothing to be trained",
            found=jobs[0].name,
            expected="a run of a network",
            fix=f"hdit-repro eval --run {jobs[0].name}",
        )
    tasks = tasks_for(jobs, roots)
    asked = [task for task in tasks if task.stage == stage]
    if stage == "sample":
        _drop_damaged(asked)
    left = _left(tasks, stage)
    for task in asked:
        if task not in left:
            remark(f"{stage} of {task.name} at {scale} scale is done")
            for wrong in mend_cards([task.job], roots):
                remark(wrong)
            if stage == "train" and (settings.training.ema_decays or settings.training.snapshots):
                remark("--ema-decay and --snapshot keep nothing of a training that is over")
    if not left:
        return asked
    refuse_lost(left)
    _say_what_comes_first(stage, left, scale)
    if settings.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    here = place(settings.distributed) if stage == "train" else ALONE
    if not here.rank:  # the first process describes the runs, holds the lock and tells of the progress
        describe(jobs, roots)
        if slow := on_cpus(left, read_cluster("local"), settings.device):
            remark(slow)
    for task in left:
        _run_here(task, settings, first=not here.rank, alone=here.size == 1)
    return asked


def _run_here(task: Task, settings: Settings, first: bool, alone: bool) -> None:
    """One stage in this process: under its lock and with its progress shown where this is the first of them."""
    from hdit_repro.launch.follow import Telling, display
    from hdit_repro.launch.job import default_stages, execute, settings_for

    function = default_stages()[task.stage]
    if not first:
        function(task.job, task.folder, settings_for(task, settings), lambda progress: None)
        return
    shown = display()
    try:
        told = Telling(task, shown)
        if not execute(task, function, settings, owner=f"command/{os.getpid()}", onward=told, wait=alone):
            raise RunError(
                f"{task.stage} of {task.name} is run by other processes now",
                found=str(task.folder.path),
                expected="one process at a time for a stage",
                fix=f"wait for it (`hdit-repro logs {task.name} --follow`), or end it first",
            )
    finally:
        shown.close()


def _drop_damaged(tasks: Sequence[Task]) -> None:
    """Read samples that are there, and strike off those that are damaged, so that they are drawn again."""
    from hdit_repro.stages.shards import whole_shards

    for task in tasks:
        if task.folder.done("sample") and (damaged := whole_shards(task.folder)[1]):
            remark(f"samples of {task.name} are damaged and drawn again: {', '.join(damaged)}")


def _left(tasks: Sequence[Task], stage: str) -> list[Task]:
    """Stage `stage` where it is not done, and before it what is missing of the stages that it needs."""
    wanted: set[str] = set()
    for task in tasks:
        if task.stage != stage or task.folder.done(stage):
            continue
        wanted.add(task.key)
        for before in reversed(STAGES[: STAGES.index(stage)]):
            if task.folder.done(before):
                break
            wanted.add(task.folder.stage_key(before))
    return [task for task in tasks if task.key in wanted]


def _say_what_comes_first(stage: str, left: Sequence[Task], scale: str) -> None:
    """Say which stages are run before the one that was asked for.

    Raises:
        UserError: there are some at paper scale.
    """
    earlier = [task for task in left if task.stage != stage]
    if not earlier:
        return
    first = earlier[0]
    if scale == "paper" and not first.job.run.external:
        from hdit_repro.jobs.submitting import submitting
        from hdit_repro.launch.clusters import read_cluster
        from hdit_repro.launch.price import price

        hours = sum(price(task.job.run, task.stage, scale, read_cluster("local")).gpu_hours for task in earlier)
        raise UserError(
            f"{stage} of {first.name} needs what {earlier[-1].stage} leaves",
            found=f"no finished {first.stage} at paper scale under {first.folder.path}; that takes about "
            f"{hours:,.0f} A100-hours, which are not begun in passing",
            expected="the stages before it done",
            fix=f"`hdit-repro {COMMAND_OF[first.stage]} --run {first.job.name}{first.job.on_data}` where there are "
            f"GPUs, `{submitting(first.job.name, scale, first.job.on_data)}` on a cluster, or --scale "
            "smoke here",
        )
    stages = ", then ".join(f"{task.stage} {task.name}" for task in earlier)
    remark(f"{stage} needs what is not there yet at {scale} scale, so this comes first: {stages}")


def _outputs(tasks: Sequence[Task]) -> None:
    """Print where each stage's output lies."""
    for task in tasks:
        folder = task.folder
        output = {"train": folder.final_marker, "sample": folder.manifest, "evaluate": folder.record}
        data(near(output[task.stage]))
