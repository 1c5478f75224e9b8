"""`submit`: run what is missing of an experiment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark
from hdit_repro.cli.replaced import say_replaced
from hdit_repro.cli.training_options import finite
from hdit_repro.errors import RunError, UserError, counted

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.launch.clusters import Cluster
    from hdit_repro.launch.submit import Failure
    from hdit_repro.records.layout import Roots

app = group()


DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, scripts included; write nothing.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Stay, show progress, render the tables; here TERM ends it saved (exit code 75).")
]
Dirty = Annotated[
    bool,
    typer.Option("--allow-dirty", help="On SLURM: run code with uncommitted changes; they are kept beside the runs."),
]
NoTables = Annotated[bool, typer.Option("--no-tables", help="Render nothing at the end; on this machine only.")]
StopAfter = Annotated[
    float,
    typer.Option(
        "--stop-after",
        metavar="MINUTES",
        min=0.0,
        callback=finite,
        help="With --wait: save and leave (exit code 75) after so long, 0 never; the same command goes on.",
    ),
]


@app.command("submit")
def submit(
    experiment: options.Experiment,
    cluster: options.Cluster = "local",
    scale: options.Scale = "paper",
    rows: options.Rows = None,
    seeds: options.Seeds = 1,
    sampling_seeds: options.SamplingSeeds = 1,
    own: options.OwnData = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    stop_after: StopAfter = 0.0,
    no_tables: NoTables = False,
    yes: options.Yes = False,
    allow_dirty: Dirty = False,
    as_objects: options.Json = False,
) -> None:
    """Train, sample, measure and render what is missing of an experiment; run it again to go on.

    Example: hdit-repro submit table1 --scale smoke --wait
    """
    from hdit_repro.launch.clusters import Slurm, read_cluster, workplace
    from hdit_repro.launch.plan import wanted

    profile = read_cluster(cluster)
    if stop_after and (isinstance(profile, Slurm) or not wait):
        raise UserError(
            "only a command that waits for this machine's own processes can leave after some time",
            found=f"--stop-after {stop_after:g} "
            + ("on a cluster" if isinstance(profile, Slurm) else "without --wait"),
            expected="--wait, and a cluster of kind local",
            fix="a SLURM profile has time_limit_hours; its jobs go on by themselves"
            if isinstance(profile, Slurm)
            else "add --wait",
        )
    if no_tables and isinstance(profile, Slurm):
        raise UserError(
            "the last job of a submission to SLURM renders the tables",
            found=f"--no-tables and --cluster {cluster}",
            expected="--no-tables with a cluster of kind local",
            fix="leave --no-tables out: tables cost seconds and can be rendered again",
        )
    dataset = options.own_data(own, note=not dry_run)
    jobs = wanted(experiment, scale, options.names(rows), seeds, dataset, sampling_seeds)
    options.large_enough(own, jobs)
    say_replaced(jobs)
    roots = workplace(cluster=profile)
    if isinstance(profile, Slurm):
        from hdit_repro.cli import slurm

        if dry_run:
            slurm.show(jobs, roots, profile, allow_dirty=allow_dirty, as_objects=as_objects)
        elif slurm.start(jobs, roots, profile, yes=yes, allow_dirty=allow_dirty, wait=wait, as_objects=as_objects):
            _say_where(jobs, roots)
            _say_cards(jobs, roots)
            _say_tables(_rendered(scale), jobs)
        return
    for name in [name for name, given in (("--yes", yes), ("--allow-dirty", allow_dirty)) if given]:
        remark(f"{name} changes nothing here: it is for clusters of SLURM, and {cluster} is this machine")
    _here(jobs, roots, profile, dry_run, wait, as_objects, 60 * stop_after, no_tables)


def _here(
    jobs: Sequence[Job],
    roots: Roots,
    profile: Cluster,
    dry_run: bool,
    wait: bool,
    as_objects: bool,
    stop_after: float,
    no_tables: bool,
) -> None:
    """On this machine."""
    from hdit_repro.cli.plan import print_plan, say_slow, say_unseen
    from hdit_repro.launch.graph import required, tasks_for
    from hdit_repro.launch.lost import refuse_lost
    from hdit_repro.launch.plan import RENDER, make_plan, to_run
    from hdit_repro.launch.submit import asked_for, refuse_what_cannot_be
    from hdit_repro.launch.submit import submit as start

    plan = make_plan(jobs, roots, profile)
    left = required(tasks_for(jobs, roots))
    refuse_lost(left)
    refuse_what_cannot_be(jobs, plan, profile)
    say_slow(left, profile)
    say_unseen(left, profile)
    if dry_run:
        planned = [stage for stage in plan if not (no_tables and stage.stage == RENDER)]
        if as_objects:
            as_json([stage.as_row() for stage in planned])
        else:
            print_plan(planned, profile)
        return
    from hdit_repro.launch.follow import display

    if to_run(plan):
        _say_dirty()
    shown = display() if wait else None
    render = None if no_tables else _render(jobs[0].scale)
    done = start(jobs, roots, profile, display=shown, render=render, stop_after=stop_after)
    if not done.open:
        remark(f"all {counted(len(plan) - 1, 'stage')} of {asked_for(jobs)} at {jobs[0].scale} scale are done")
    if done.open and not wait:
        if as_objects:
            as_json(list(done.job_ids))
        for job_id in () if as_objects else done.job_ids:
            data(job_id)
        started = f"{counted(done.open, 'stage')} for {counted(len(done.job_ids), 'worker')}"
        remark(f"{started}; `hdit-repro status --watch` shows how far they are")
        return
    if not as_objects:
        _say_where(jobs, roots)
    _say_cards(jobs, roots)
    try:
        written = [] if no_tables else _rendered(jobs[0].scale)
        if as_objects:
            as_json([str(path) for path in written])
        elif written:
            _say_tables(written, jobs)
    finally:
        if done.failures:
            raise _failed(done.failures)


def _say_dirty() -> None:
    """Here nothing keeps the code as it is, and nothing refuses it: it is told."""
    from hdit_repro.records.provenance import checkout_source

    if checkout_source(Path(__file__).resolve().parents[2]).dirty:
        remark("the code has changes that no commit holds: records will say `dirty`, and nothing keeps the changes")


def _render(scale: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "hdit_repro.cli", "render-tables", "--scale", scale)


def _rendered(scale: str) -> list[Path]:
    from hdit_repro.launch.submit import run_render

    return run_render((*_render(scale), "--json"))


def _say_where(jobs: Sequence[Job], roots: Roots) -> None:
    """Where the numbers and the pictures are."""
    from hdit_repro.launch.graph import row_name
    from hdit_repro.records.layout import RunFolder

    data(f"records  {near(roots.records(jobs[0].scale))}")
    for job in jobs:
        grid = RunFolder(roots, job.run, job.scale).grid
        if grid.exists():
            data(f"samples  {near(grid)}  {row_name(job)}")


def _say_cards(jobs: Sequence[Job], roots: Roots) -> None:
    """Draw the cards that a stage left behind, and say which cannot be drawn."""
    from hdit_repro.launch.cards import mend_cards

    for wrong in mend_cards(jobs, roots):
        remark(f"{wrong}; the same command tries again")


def _say_tables(written: Sequence[Path], jobs: Sequence[Job]) -> None:
    """The experiment's own tables, and the folder with all."""
    from hdit_repro.render.experiments import file_name
    from hdit_repro.spec.data import Folder

    experiment, images = jobs[0].experiment, jobs[0].run.data.dataset
    names = (file_name(experiment, images),) if isinstance(images, Folder) else (experiment, file_name(experiment))
    for path in written:
        if path.stem in names and path.suffix == ".md":
            data(f"table    {near(path)}")
    for folder in dict.fromkeys(path.parent for path in written):
        data(f"tables   {near(folder)}")


def _failed(failures: Sequence[Failure]) -> RunError:
    from hdit_repro.cli.failures import reasons

    return RunError(
        f"{len(failures)} of the stages failed",
        found=reasons(failures),
        expected="every stage done",
        fix=f"`hdit-repro logs {quote(failures[0].job)}` prints the whole; the same command again tries what failed",
    )
