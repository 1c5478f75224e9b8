"""How far things are: `status` and `logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark, table
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.status import Row
    from hdit_repro.records.layout import Roots

app = group()

EVERY = 2.0
"""Seconds between two looks of `--watch`."""

PATIENCE = 10.0
"""Seconds without anything running after which `--watch` ends; workers need some to start."""


@app.command("status")
def status(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help=f"{options.EXPERIMENT_HELP} Default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until nothing runs.")] = False,
    cluster: options.Cluster = "local",
    as_objects: options.Json = False,
) -> None:
    """Show every stage that was submitted here, from disk and queue: state, progress, loss, time left, failures.

    Example: hdit-repro status table1 --watch
    """
    from hdit_repro.errors import pick
    from hdit_repro.jobs import experiments
    from hdit_repro.launch.clusters import read_cluster, workplace

    if watch and as_objects:
        raise UserError("--watch and --json do not go together", found="both", expected="one of them")
    roots, quiet = workplace(cluster=read_cluster(cluster)), 0
    while True:
        rows, asked = _look(roots, experiment)
        if not rows and experiment is not None:
            pick(dict.fromkeys(experiments()), experiment.partition("/")[0], kind="experiment", where="jobs/")
        if as_objects:
            as_json([row.as_row() for row in rows])
            return
        _print(rows)
        if not asked:
            remark("SLURM does not answer here: what waits in its queue is not shown")
        quiet = 0 if any(row.state in ("running", "queued") for row in rows) else quiet + 1
        if not watch or quiet * EVERY > PATIENCE:
            return
        time.sleep(EVERY)
        if sys.stdout.isatty():
            from rich.console import Console

            Console().clear()


def _look(roots: Roots, experiment: str | None) -> tuple[list[Row], bool]:
    """The rows from disk and queue; False where there is a queue that cannot be asked."""
    from hdit_repro.launch.slurm import live
    from hdit_repro.launch.status import known_tasks, status_of

    tasks = known_tasks(roots, experiment)
    rows, found = status_of(tasks), live.look(roots, tasks)
    if found is None:
        return rows, True
    return live.overlay(found, tasks, rows), found.asked


def _print(rows: Sequence[Row]) -> None:
    from hdit_repro.launch.follow import words

    if not rows:
        remark("nothing was submitted here yet; `hdit-repro submit table1 --scale smoke --wait` is a start")
        return
    cells = []
    for row in rows:
        detail = row.error if row.state == "failed" else words(row) if row.total or row.state == "running" else ""
        cells.append((row.run, row.scale, row.stage, row.state, detail, row.queue))
    queued = any(row.queue for row in rows)
    headers = ("run", "scale", "stage", "state", "progress", "queue")
    table(headers if queued else headers[:-1], [cell if queued else cell[:-1] for cell in cells])
    states = [row.state for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    remark(f"{len(rows)} stages: {counted}")
    planned = [row.planned_gpu_hours for row in rows if row.planned_gpu_hours is not None]
    if planned:
        remark(f"GPU-hours: {sum(row.gpu_hours for row in rows):,.2f} used, {sum(planned):,.2f} planned")


@app.command("logs")
def logs(
    run: options.Run,
    scale: Annotated[str | None, typer.Option("--scale", help="Only this scale.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing what comes until nothing runs.")] = False,
    cluster: options.Cluster = "local",
) -> None:
    """Print what the stages of a run printed, and why one failed.

    Example: hdit-repro logs table1/E
    """
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.status import known_tasks

    roots = workplace(cluster=read_cluster(cluster))
    name = jobs.find(run).name
    tasks = [task for task in known_tasks(roots, name, scale) if any(job.name == name for job in task.jobs)]
    if not tasks:
        raise UserError(
            f"{name} has never been submitted here" + (f" at {scale} scale" if scale else ""),
            found=f"no run of that name under {roots.runs}",
            expected="a run folder",
            fix=f"hdit-repro submit {name} --scale smoke --wait",
        )
    printed: dict[Path, int] = {}
    said = _print_logs(tasks, printed)
    while follow and _going(roots, tasks):
        time.sleep(EVERY / 2)
        said = _print_logs(tasks, printed) or said
    if follow:
        said = _print_logs(tasks, printed) or said
    said = _print_failures(roots, tasks, printed) or said
    if not said:
        remark(f"no stage of {name} has printed anything here")


def _logs_of(task: Task) -> list[Path]:
    """The log of a stage, and those of its shards."""
    whole = task.folder.log(task.stage)
    return [whole, *sorted(whole.parent.glob(f"{task.key}.*-*.log"))]


def _print_logs(tasks: Sequence[Task], printed: dict[Path, int]) -> bool:
    """Print what the logs hold beyond what was printed before."""
    said = False
    for path in (path for task in tasks for path in _logs_of(task) if path.exists()):
        with open(path, encoding="utf-8", errors="replace") as file:
            file.seek(printed.get(path, 0))
            text = file.read()
            printed[path] = file.tell()
        if text.strip():
            said = True
            data(text.rstrip("\n"))
    return said


def _print_failures(roots: Roots, tasks: Sequence[Task], printed: Mapping[Path, int]) -> bool:
    """Why stages failed, where their logs do not say it."""
    from hdit_repro.launch.progress import read_failure

    said = False
    for task in tasks:
        logged = "".join(
            path.read_text(encoding="utf-8", errors="replace") for path in _logs_of(task) if path in printed
        )
        whole = task.folder.failure(task.stage)
        for path in (whole, *sorted(whole.parent.glob(f"{task.key}.*-*.failure.json"))):
            failure = read_failure(path)
            why = str(failure.get("traceback") or failure.get("error", "")).rstrip()
            if why and why not in logged:
                said = True
                data(f"{task.stage} failed: {why}")
    return said


def _going(roots: Roots, tasks: Sequence[Task]) -> bool:
    """Whether any of the stages runs or waits for its turn."""
    from hdit_repro.launch.slurm import live
    from hdit_repro.launch.status import status_of

    rows, found = status_of(tasks), live.look(roots, tasks)
    rows = rows if found is None else live.overlay(found, tasks, rows)
    return any(row.state in ("running", "queued") for row in rows)
