"""What happens to submissions afterwards: `cancel`, `retry`, `gc`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, must_be_whole, near, remark, table
from hdit_repro.errors import RunError, UserError, counted

if TYPE_CHECKING:
    from hdit_repro.launch.clusters import Slurm
    from hdit_repro.launch.gc import Garbage
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.slurm.act import Retry
    from hdit_repro.launch.slurm.journal import Unread
    from hdit_repro.launch.slurm.submit import Submitted
    from hdit_repro.records.layout import Roots

app = group()

OneScale = Annotated[str | None, typer.Option("--scale", metavar="SCALE", help="Only this scale.")]


@app.command("cancel")
def cancel(
    experiment: options.Experiment,
    scale: OneScale = None,
    cluster: options.Place = "local",
    as_objects: options.Json = False,
) -> None:
    """Cancel the jobs that wait or run for an experiment or a row, and for no other run, and print their ids.

    Example: hdit-repro cancel table1/E
    """
    from hdit_repro.cli.status import unread
    from hdit_repro.launch.slurm.act import cancel as act
    from hdit_repro.launch.slurm.act import gone_with, shared
    from hdit_repro.launch.status import readable

    roots, tasks = _known(experiment, scale, cluster, earlier=True)
    shown, refused = readable(tasks)
    for error in refused:
        remark(f"{unread(error)}; its jobs are cancelled all the same")
    submissions: list[Unread] = []
    ids = act(roots, tasks, shown, submissions.append)
    others = shared(roots, shown)
    if as_objects:
        as_json(ids)
    else:
        for job_id in ids:
            data(job_id)
        found = ids or others
        remark(f"{counted(len(ids), 'job')} cancelled" if found else f"no job of {experiment} is in SLURM's queue")
    there = "" if cluster == "local" else f" --cluster {cluster}"
    for names in gone_with(roots, tasks, ids):
        same = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} the same run"
        remark(f"{same}, and cancelled with it: `hdit-repro retry {names[0]}{there}` submits it again")
    for job_id in others:
        remark(f"{job_id} works for other rows too and goes on: `scancel {job_id}` ends all of it")
    must_be_whole(submissions, "jobs of submissions that cannot be read were not cancelled")


@app.command("retry")
def retry(
    experiment: options.Experiment,
    scale: OneScale = None,
    cluster: options.Place = "local",
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Run code with uncommitted changes.")] = False,
    yes: options.Yes = False,
    as_objects: options.Json = False,
) -> None:
    """Submit again what failed or was cancelled of an experiment, to the cluster where it was, with all that follows.

    Example: hdit-repro retry table1
    """
    from hdit_repro.cli.slurm import outcome
    from hdit_repro.launch.slurm.act import failed
    from hdit_repro.launch.status import readable

    roots, tasks = _known(experiment, scale, cluster)
    tasks, hidden = readable(tasks)
    refused: list[Unread] = [*hidden]
    lost = failed(roots, tasks, refused.append)
    if not lost:
        remark(f"nothing of {experiment} failed on SLURM; `hdit-repro submit` goes on with what is missing")
    ids: list[str] = []
    for found in lost:
        remark(f"failed or cancelled on {found.cluster}: {', '.join(found.stages)}")
        made, profile = _submit(found, roots, allow_dirty, yes)
        remark(outcome(made, profile))
        ids += made.job_ids
    if as_objects:
        as_json(ids)
    else:
        for job_id in ids:
            data(job_id)
    must_be_whole(refused, "what failed in runs and submissions that cannot be read was not submitted again")


@app.command("gc")
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    cluster: options.Place = "local",
    as_objects: options.Json = False,
) -> None:
    """List what may be deleted without losing a result: old checkpoints, snapshots of code, ended submissions.

    Example: hdit-repro gc
    """
    from hdit_repro.cli.slurm import say_busy
    from hdit_repro.cli.status import unread
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.gc import alone, garbage, remove

    roots = workplace(cluster=read_cluster(cluster))
    refused: list[Unread] = []
    if not delete:
        found = garbage(roots, refused.append)
        _list(found, as_objects)
        for error in refused:
            remark(f"{unread(error)}, and what hangs on it is not looked at")
        remark(f"{_total(found)}; --delete deletes them" if found else "nothing to delete")
        return
    with alone(roots, refused.append, say_busy) as mine:
        found = garbage(roots, refused.append, code=mine)
        _list(found, as_objects)
        left = remove(found)
    remark(f"deleted {_total([item for item in found if item not in left])}")
    if left:
        for error in refused:
            remark(f"{unread(error)}, and what hangs on it is not looked at")
        raise RunError(
            f"{counted(len(left), 'place')} could not be deleted",
            found=near(left[0].path) + (f" and {len(left) - 1} more" if left[1:] else ""),
            expected="files and folders that this user may delete",
            fix="ask their owner, or mend their permissions; then run the same command again",
        )
    must_be_whole(refused, "what hangs on files that cannot be read was not looked at", "rwX")


def _list(found: Sequence[Garbage], as_objects: bool) -> None:
    """Print what may go."""
    if as_objects:
        as_json([{"path": str(item.path), "bytes": item.bytes, "why": item.why} for item in found])
        return
    cells = [(near(item.path), f"{item.bytes / 1e6:,.1f}", item.why) for item in found]
    if cells:
        table(("path", "MB", "why"), cells, right=("MB",))


def _total(found: Sequence[Garbage]) -> str:
    return f"{sum(item.bytes for item in found) / 1e9:,.2f} GB in {counted(len(found), 'place')}"


def _known(experiment: str, scale: str | None, cluster: str, *, earlier: bool = False) -> tuple[Roots, Sequence[Task]]:
    """The stages of an experiment that were ever submitted here; with `earlier`, those of rows before an edit too.

    Raises:
        UserError: there are none.
    """
    from hdit_repro.cli.status import remark_unreadable
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.status import known_tasks

    roots = workplace(cluster=read_cluster(cluster))
    tasks = known_tasks(roots, experiment, scale, earlier=earlier)
    if not tasks:
        remark_unreadable(roots)
        raise UserError(
            f"{experiment} has never been submitted here" + (f" at {scale} scale" if scale else ""),
            found=f"no run of it under {roots.runs}",
            expected="a run folder",
            fix="`hdit-repro status` prints what was",
        )
    return roots, tasks


def _submit(found: Retry, roots: Roots, allow_dirty: bool, yes: bool) -> tuple[Submitted, Slurm]:
    from hdit_repro.cli.slurm import confirmed, say_busy
    from hdit_repro.launch.clusters import Slurm, read_cluster
    from hdit_repro.launch.slurm.submit import submit

    profile = read_cluster(found.cluster)
    assert isinstance(profile, Slurm)
    render = ("hdit_repro.cli", "render-tables", "--scale", found.scale)
    made = submit(
        found.jobs, roots, profile, render=render, allow_dirty=allow_dirty, confirm=confirmed(yes), busy=say_busy
    )
    return made, profile
