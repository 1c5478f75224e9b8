"""How far things are: `status` and `logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark, table
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.launch.status import Row

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
    as_objects: options.Json = False,
) -> None:
    """Show every stage that was submitted here, read from disk: state, progress, loss, time left, failures.

    Example: hdit-repro status table1 --watch
    """
    from hdit_repro.errors import pick
    from hdit_repro.jobs import experiments
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.launch.status import read_status

    if watch and as_objects:
        raise UserError("--watch and --json do not go together", found="both", expected="one of them")
    roots, quiet = workplace(), 0
    while True:
        rows = read_status(roots, experiment)
        if not rows and experiment is not None:
            pick(dict.fromkeys(experiments()), experiment.partition("/")[0], kind="experiment", where="jobs/")
        if as_objects:
            as_json([row.as_row() for row in rows])
            return
        _print(rows)
        quiet = 0 if any(row.state == "running" for row in rows) else quiet + 1
        if not watch or quiet * EVERY > PATIENCE:
            return
        time.sleep(EVERY)
        if sys.stdout.isatty():
            from rich.console import Console

            Console().clear()


def _print(rows: Sequence[Row]) -> None:
    from hdit_repro.launch.follow import words

    if not rows:
        remark("nothing was submitted here yet; `hdit-repro submit table1 --scale smoke --wait` is a start")
        return
    cells = []
    for row in rows:
        detail = row.error if row.state == "failed" else words(row) if row.total or row.state == "running" else ""
        cells.append((row.run, row.scale, row.stage, row.state, detail))
    table(("run", "scale", "stage", "state", "progress"), cells)
    states = [row.state for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    remark(f"{len(rows)} stages: {counted}")


@app.command("logs")
def logs(
    run: options.Run, scale: Annotated[str | None, typer.Option("--scale", help="Only this scale.")] = None
) -> None:
    """Print what the stages of a run printed, and why one failed.

    Example: hdit-repro logs table1/E
    """
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.launch.progress import read_failure
    from hdit_repro.launch.status import known_jobs
    from hdit_repro.records.layout import STAGES, RunFolder

    roots = workplace()
    name = jobs.find(run).name
    known = [job for job in known_jobs(roots) if job.name == name and scale in (None, job.scale)]
    folders = [RunFolder(roots, job.run, job.scale) for job in known]
    if not folders:
        raise UserError(
            f"{name} has never been submitted here" + (f" at {scale} scale" if scale else ""),
            found=f"no run of that name under {roots.runs}",
            expected="a run folder",
            fix=f"hdit-repro submit {name} --scale smoke --wait",
        )
    printed = False
    for folder in folders:
        for stage in STAGES:
            log, failure = folder.log(stage), read_failure(folder.failure(stage))
            text = log.read_text(encoding="utf-8", errors="replace").rstrip() if log.exists() else ""
            why = str(failure.get("traceback") or failure.get("error", "")).rstrip()
            for part in (text, "" if why in text else f"{stage} failed: {why}"):
                if part:
                    printed = True
                    data(part)
    if not printed:
        remark(f"no stage of {name} has printed anything here")
