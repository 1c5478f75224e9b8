"""One stage of one run in this process: `train`, `sample`, `eval`."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.protocols import show_protocols
from hdit_repro.cli.output import data, group, near, remark
from hdit_repro.errors import UserError

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
    typer.Option("--keep-images", help="Beside the features: auto (up to 256 MiB), none, or all, written as zip or npz."),
]


@app.command("train")
def train(
    run: options.RunOption, scale: options.Scale = "paper", device: Device = "auto", threads: Threads = 0
) -> None:
    """Train a run, from its newest checkpoint if there is one.

    Example: hdit-repro train --run table1/E --scale smoke
    """
    _execute("train", run, scale, device, threads)


@app.command("sample")
def sample(
    run: options.RunOption,
    scale: options.Scale = "paper",
    device: Device = "auto",
    threads: Threads = 0,
    keep_images: KeepImages = Keep.auto,
) -> None:
    """Draw the samples of a trained run.

    Example: hdit-repro sample --run table1/E --scale smoke
    """
    _execute("sample", run, scale, device, threads, keep_images)


@app.command("eval")
def evaluate(
    run: options.RunOption,
    scale: options.Scale = "paper",
    device: Device = "auto",
    threads: Threads = 0,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAMES", help="Show these protocols side by side; all, or names with commas."),
    ] = None,
    metrics: Annotated[str, typer.Option("--metrics", metavar="KINDS", help="With --protocol: all, or kinds.")] = "frechet",
    as_objects: options.Json = False,
) -> None:
    """Measure the samples of a run and write the record.

    Example: hdit-repro eval --run table1/E --scale smoke
    """
    _execute("evaluate", run, scale, device, threads, said=not as_objects and protocol is None)
    if protocol is not None:
        show_protocols(run, scale, device, threads, protocol, metrics, as_objects)


def _execute(
    stage: str, run: str, scale: str, device: str, threads: int, keep: Keep = Keep.auto, said: bool = True
) -> None:
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.launch.describe import describe
    from hdit_repro.launch.follow import Telling, display
    from hdit_repro.launch.job import default_stages, execute
    from hdit_repro.launch.plan import tasks_for
    from hdit_repro.stages.settings import Settings

    if threads < 0:
        raise UserError("threads cannot be negative", found=f"--threads {threads}", expected="0 or more")
    job, roots = jobs.find(run, scale), workplace()
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
    describe([job], roots)
    shown = display()
    try:
        settings = Settings(device=device, threads=threads, keep_images=keep.value)
        execute(task, function, settings, owner=f"command/{os.getpid()}", onward=Telling(task, shown))
    finally:
        shown.close()
    if said:
        data(near(output))
