"""One stage of one run in this process: `train`, `sample`, `eval`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hdit_repro.cli import options, training_options
from hdit_repro.cli.output import data, group, near, remark
from hdit_repro.cli.protocols import show_protocols
from hdit_repro.errors import RunError, UserError

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
    from hdit_repro.stages.settings import HowToTrain

    how = HowToTrain(
        microbatch=microbatch,
        recompute=recompute,
        compile=compiled,
        deterministic=deterministic,
        unreadable=unreadable.value,
        ema_decays=training_options.decays(ema_decay or []),
        snapshots=tuple(snapshot or []),
        tensorboard=tensorboard,
        save_seconds=save_seconds,
        log_every=log_every,
    )
    start = {"distributed": distributed.value, "time_limit": time_limit, "training": how}
    _execute("train", run, scale, device, threads, how=start, own=own)


@app.command("sample")
def sample(
    run: options.RunOption,
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    device: Device = "auto",
    threads: Threads = 0,
    keep_images: KeepImages = Keep.auto,
) -> None:
    """Draw the samples of a trained run.

    Example: hdit-repro sample --run table1/E --scale smoke
    """
    _execute("sample", run, scale, device, threads, keep_images, own=own)


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
        str, typer.Option("--metrics", metavar="KINDS", help="With --protocol: all, or kinds.")
    ] = "frechet",
    as_objects: options.Json = False,
) -> None:
    """Measure the samples of a run and write the record.

    Example: hdit-repro eval --run table1/E --scale smoke
    """
    _execute("evaluate", run, scale, device, threads, said=not as_objects and protocol is None, own=own)
    if protocol is not None:
        show_protocols(run, scale, device, threads, protocol, metrics, as_objects)


def _execute(
    stage: str,
    run: str,
    scale: str,
    device: str,
    threads: int,
    keep: Keep = Keep.auto,
    said: bool = True,
    how: dict[str, Any] | None = None,
    own: Path | None = None,
) -> None:
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.launch.describe import describe
    from hdit_repro.launch.follow import Telling, display
    from hdit_repro.launch.job import default_stages, execute, settings_for
    from hdit_repro.launch.plan import tasks_for
    from hdit_repro.stages.settings import Settings
    from hdit_repro.training.rendezvous import ALONE, place

    if threads < 0:
        raise UserError("threads cannot be negative", found=f"--threads {threads}", expected="0 or more")
    job, roots = jobs.find(run, scale, dataset=options.own_data(own)), workplace()
    task = next(task for task in tasks_for([job], roots) if task.stage == stage)
    output = {"train": task.folder.final_marker, "sample": task.folder.manifest, "evaluate": task.folder.record}[stage]
    if task.folder.done(stage):
        remark(f"{stage} of {job.name} at {scale} scale is done")
        if said:
            data(near(output))
        return
    if not task.ready and task.before is not None:
        raise UserError(
            f"{stage} of {job.name} needs what {task.before} leaves",
            found=f"no finished {task.before} of {job.name} at {scale} scale under {task.folder.path}",
            expected="the stage before it done",
            fix=f"hdit-repro {COMMAND_OF[task.before]} --run {job.name} --scale {scale}",
        )
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    function = default_stages()[stage]
    settings = Settings(device=device, threads=threads, keep_images=keep.value, **(how or {}))
    here = place(settings.distributed) if stage == "train" else ALONE
    if here.rank:  # the first process holds the lock and tells of the progress
        function(job, task.folder, settings_for(task, settings), lambda progress: None)
        return
    describe([job], roots)
    shown = display()
    owner, alone = f"command/{os.getpid()}", here.size == 1
    try:
        if not execute(task, function, settings, owner=owner, onward=Telling(task, shown), wait=alone):
            raise RunError(f"{stage} of {job.name} is run by other processes now", found=str(task.folder.path))
    finally:
        shown.close()
    if said:
        data(near(output))
