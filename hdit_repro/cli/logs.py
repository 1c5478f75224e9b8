"""What stages printed, and why they failed: `logs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import data, group, must_be_whole, near, remark
from hdit_repro.cli.status import EVERY, remark_unreadable
from hdit_repro.errors import UserError
from hdit_repro.files import read_text, regular

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.progress import Failure
    from hdit_repro.launch.slurm.live import Live
    from hdit_repro.records.layout import Roots

app = group()

RefusedFiles = dict[Path, PermissionError]
"""Files that this user may not read, with what the system said."""

TAIL = 10
"""Lines of a job's own output that are printed."""


@app.command("logs")
def logs(
    run: options.Run,
    scale: Annotated[str | None, typer.Option("--scale", metavar="SCALE", help="Only this scale.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing what comes until nothing runs.")] = False,
    cluster: options.Place = "local",
) -> None:
    """Print what the stages of a run printed, and why one failed.

    Example: hdit-repro logs table1/E
    """
    from hdit_repro.jobs.submitting import submitting
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.status import known_tasks

    roots = workplace(cluster=read_cluster(cluster))
    job = _find(run, scale)
    name = job.name
    tasks = [task for task in known_tasks(roots, name, scale) if any(one.name == name for one in task.jobs)]
    if not tasks:
        remark_unreadable(roots)
        raise UserError(
            f"{name} has never been submitted here" + (f" at {scale} scale" if scale else ""),
            found=f"no run of that name under {roots.runs}",
            expected="a run folder",
            fix=f"hdit-repro eval --run {quote(name)} --scale {scale or 'paper'}"
            if job.run.external
            else submitting(quote(name), scale or "smoke", wait=True),
        )
    printed: dict[Path, int] = {}
    refused: RefusedFiles = {}
    said = _print_logs(tasks, printed, refused)
    while follow and (live := _look(roots, tasks)).going:
        again = time.monotonic() + live.pause
        while True:
            time.sleep(EVERY / 2)
            said = _print_logs(tasks, printed, refused) or said
            if time.monotonic() >= again:
                break
    if follow:
        said = _print_logs(tasks, printed, refused) or said
    said = _print_failures(tasks, printed, refused) or said
    said = _print_jobs(roots, tasks) or said
    if not said and not refused:
        remark(f"no stage of {name} has printed anything here")
    must_be_whole([*refused.values()], "what stages printed cannot all be read")


def _find(run: str, scale: str | None) -> Job:
    """The row of a name at the scale that is asked for, else at the first that it can be at: not all can be at paper
    scale."""
    from hdit_repro import jobs

    asked, *others = [scale] if scale else jobs.SCALES
    try:
        return jobs.find(run, asked)
    except UserError:
        for other in others:
            with contextlib.suppress(UserError):
                return jobs.find(run, other)
        raise


def _logs_of(task: Task) -> list[Path]:
    """The log of a stage, and those of its shards."""
    whole = task.folder.log(task.stage)
    return [whole, *sorted(whole.parent.glob(f"{task.key}.*-*.log"))]


def _print_logs(tasks: Sequence[Task], printed: dict[Path, int], refused: RefusedFiles) -> bool:
    """Print what the logs hold beyond what was printed before."""
    said = False
    for path in (path for task in tasks for path in _logs_of(task)):
        try:
            with open(path, encoding="utf-8", errors="replace", opener=regular) as file:
                file.seek(printed.get(path, 0))
                text = file.read()
                printed[path] = file.tell()
        except FileNotFoundError:
            continue
        except PermissionError as error:
            refused[path] = error
            continue
        if text.strip():
            said = True
            data(text.rstrip("\n"))
    return said


def _print_failures(tasks: Sequence[Task], printed: Mapping[Path, int], refused: RefusedFiles) -> bool:
    """Why stages failed, where their logs do not say it: a log has the error's own words, behind a traceback or not."""
    from hdit_repro.launch.progress import read_failure

    said = False
    for task in tasks:
        logged = _squeezed("\n".join(read_text(path, errors="replace") for path in _logs_of(task) if path in printed))
        whole = task.folder.failure(task.stage)
        for path in (whole, *sorted(whole.parent.glob(f"{task.key}.*-*.failure.json"))):
            try:
                failure = read_failure(path)
            except PermissionError as error:
                refused[path] = error
                continue
            words = failure.get("error") or failure.get("traceback", "")
            if words and _squeezed(words) not in logged:
                said = True
                data(f"{task.stage} failed: {_why(failure)}")
    return said


def _why(failure: Failure) -> str:
    """Why a stage failed: an error of the project's in its own words, any other with the traceback that ends in it."""
    error, trace = failure.get("error", ""), failure.get("traceback", "")
    traced = not failure.get("own") and _squeezed(error) in _squeezed(trace)
    return (trace if traced else error or trace).rstrip()


def _squeezed(text: str) -> str:
    """A text with its white space as single spaces: a log that is read has other ends of lines than were written."""
    return " ".join(text.split())


def _print_jobs(roots: Roots, tasks: Sequence[Task]) -> bool:
    """The end of what jobs printed themselves since their stages said anything: their Python may never have begun."""
    from hdit_repro.launch.slurm.journal import tail
    from hdit_repro.launch.slurm.live import unheard
    from hdit_repro.launch.status import readable

    said = False
    for path in unheard(roots, readable(tasks)[0]):
        if lines := tail(path, TAIL):
            said = True
            data("\n".join([f"== the end of {near(path)}", *lines]))
    return said


def _look(roots: Roots, tasks: Sequence[Task]) -> Live:
    """What can be seen of the stages now."""
    from hdit_repro.launch.slurm.live import look
    from hdit_repro.launch.status import readable

    return look(roots, readable(tasks)[0], refused=lambda _: None)
