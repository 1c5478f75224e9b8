"""`submit`: run what is missing of an experiment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import data, group, near, remark
from hdit_repro.errors import RunError

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.launch.submit import Failure
    from hdit_repro.records.layout import Roots

app = group()


@app.command("submit")
def submit(
    experiment: options.Experiment,
    cluster: options.Cluster = "local",
    scale: options.Scale = "paper",
    rows: options.Rows = None,
    seeds: options.Seeds = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay, show progress, and render the tables.")] = False,
) -> None:
    """Train, sample, measure and render what is missing of an experiment; run it again to go on.

    Example: hdit-repro submit table1 --scale smoke --wait
    """
    from hdit_repro.cli.plan import print_plan
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.plan import make_plan, wanted
    from hdit_repro.launch.submit import refuse_what_cannot_be, run_render
    from hdit_repro.launch.submit import submit as start

    profile, roots = read_cluster(cluster), workplace()
    jobs = wanted(experiment, scale, options.names(rows), seeds)
    plan = make_plan(jobs, roots, profile)
    refuse_what_cannot_be(jobs, plan, profile)
    if dry_run:
        print_plan(plan, profile)
        return
    from hdit_repro.launch.follow import display

    render = (sys.executable, "-m", "hdit_repro.cli", "render-tables", "--scale", scale)
    done = start(jobs, roots, profile, display=display() if wait else None, render=render)
    if not done.open:
        remark(f"all {len(plan) - 1} stages of {experiment} at {scale} scale are done")
    if done.open and not wait:
        for job_id in done.job_ids:
            data(job_id)
        remark(
            f"{done.open} stages for {len(done.job_ids)} workers; `hdit-repro status --watch` shows how far they are"
        )
        return
    _say_where(jobs, roots)
    try:
        _say_tables(run_render((*render, "--json")), jobs[0].experiment)
    finally:
        if done.failures:
            raise _failed(done.failures)


def _say_where(jobs: Sequence[Job], roots: Roots) -> None:
    """Where the numbers and the pictures are."""
    from hdit_repro.records.layout import RunFolder

    data(f"records  {near(roots.records(jobs[0].scale))}")
    for job in jobs:
        grid = RunFolder(roots, job.run, job.scale).grid
        if grid.exists():
            data(f"samples  {near(grid)}  {job.name}")


def _say_tables(written: Sequence[Path], experiment: str) -> None:
    """The experiment's own tables, and the folder with all."""
    for path in written:
        if path.stem == experiment and path.suffix == ".md":
            data(f"table    {near(path)}")
    for folder in dict.fromkeys(path.parent for path in written):
        data(f"tables   {near(folder)}")


def _failed(failures: Sequence[Failure]) -> RunError:
    lines = [f"{failure.run} {failure.stage}: {failure.error} (log: {near(failure.log)})" for failure in failures]
    return RunError(
        f"{len(failures)} of the stages failed",
        found="\n            ".join(lines),
        expected="every stage done",
        fix=f"`hdit-repro logs {failures[0].run}` prints the whole; the same command again tries what failed",
    )
