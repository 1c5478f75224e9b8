"""How far things are: `status` and `logs`."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, must_be_whole, near, remark, width
from hdit_repro.errors import UserError, counted

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.slurm.journal import Damaged
    from hdit_repro.launch.slurm.live import Live
    from hdit_repro.records.layout import Roots

app = group()

RefusedFiles = dict[Path, PermissionError]
"""Files that this user may not read, with what the system said."""

EVERY = 2.0
"""Seconds between two looks of `--watch`."""

TAIL = 10
"""Lines of a job's own output that `logs` prints."""

PATIENCE = 10.0
"""Seconds without anything running after which `--watch` ends; workers need some to start."""


@app.command("status")
def status(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help=f"{options.EXPERIMENT_HELP} Default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds until nothing runs.")] = False,
    cluster: options.Place = "local",
    as_objects: options.Json = False,
) -> None:
    """Show each row that was submitted here, from disk and queue: stages, loss, speed, time left, GPU-hours, failures.

    Example: hdit-repro status table1 --watch
    """
    from hdit_repro.errors import pick
    from hdit_repro.jobs import experiments, read
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.slurm.journal import Damaged, Unread
    from hdit_repro.launch.slurm.live import look
    from hdit_repro.launch.status import known_tasks, readable, unreadable

    if watch and as_objects:
        raise UserError(
            "--watch and --json do not go together",
            found="both",
            expected="one of them",
            fix="hdit-repro status --json, once for each look",
        )
    roots, quiet = workplace(cluster=read_cluster(cluster)), 0.0
    shown: list[str] = []
    while True:
        tasks = known_tasks(roots, experiment)
        refused, submissions = list[PermissionError](), list[Unread]()
        try:
            live = look(roots, tasks)
        except (PermissionError, Damaged):  # another user's run costs nobody the sight of the rest
            tasks, refused = readable(tasks)
            live = look(roots, tasks, refused=submissions.append)
        if not tasks and experiment is not None:
            name, slash, row = experiment.partition("/")
            pick(dict.fromkeys(experiments()), name, kind="experiment", where="jobs/")
            if slash:
                pick(read(name).rows, row, kind=f"row of {name}")
        lost = [_trouble(path) for path in unreadable(roots, tasks)]
        lost += [f"{unread(error)}, and its run is not shown" for error in refused]
        lost += [f"{unread(error)}, and its jobs are not shown" for error in submissions]
        if as_objects:
            as_json([row.as_row() for row in live.rows])
            for line in lost:
                remark(line)
            return
        shown = _show(tasks, live, lost, shown, redraw=watch and sys.stdout.isatty())
        pause = max(EVERY, live.pause)
        quiet = 0.0 if live.going else quiet + pause
        if not watch or quiet > PATIENCE:
            return
        time.sleep(pause)


def _show(tasks: Sequence[Task], live: Live, lost: Sequence[str], before: list[str], redraw: bool) -> list[str]:
    """Print the table and what it comes to, over what stood on the screen before if it is to be redrawn, else where it
    is another than before. Returns its lines.

    Args:
        lost: a line for each run that is not among the stages.
        before: the lines of the look before.
    """
    from hdit_repro.cli.board import board, lines_of

    remarks = [] if lost and not tasks else _remarks(live)
    remarks += lost
    if not redraw:
        lines = board(lines_of(tasks, live.rows), columns=width(sys.stdout)) if tasks else []
        if [*lines, *remarks] != before:
            for line in lines:
                data(line)
            for said in remarks:
                remark(said)
        return [*lines, *remarks]
    size = shutil.get_terminal_size()
    text = [*board(lines_of(tasks, live.rows), size.lines - len(remarks) - 1, size.columns), *remarks]
    sys.stdout.write("\x1b[H" + "".join(f"{line[: size.columns]}\x1b[K\n" for line in text) + "\x1b[J")
    sys.stdout.flush()
    return text


def _trouble(path: Path) -> str:
    """What keeps a run from being shown: a file of it that is damaged, or refused."""
    try:
        path.read_bytes()
    except OSError as error:
        return f"{unread(error)}, and its run is not shown"
    return f"{near(path)} is damaged, and its run is not shown; submit it again to mend it"


def unread(error: OSError | Damaged) -> str:
    """That a file or folder cannot be read, why, and whose it is."""
    from hdit_repro.files import whose

    if isinstance(error, UserError):
        return f"{near(error.path)} is damaged"
    owner = whose(error, near)
    mend = ", whose `chmod -R g+rX` would share it" if owner else ""
    return f"{near(Path(str(error.filename)))} cannot be read ({error.strerror}{owner}{mend})"


def remark_unreadable(roots: Roots) -> None:
    """Say of each run folder here that cannot be read why it is not."""
    from hdit_repro.launch.status import known_tasks, unreadable

    for path in unreadable(roots, known_tasks(roots)):
        remark(_trouble(path))


def _remarks(live: Live) -> list[str]:
    """How many stages are in which state, GPU-hours, what is held, and whether the queue answers."""
    from hdit_repro.launch.slurm.coverage import held_words

    if not live.rows:
        return ["nothing was submitted here yet; `hdit-repro submit table1 --scale smoke --wait` is a start"]
    states = [row.state for row in live.rows]
    by_state = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    found = [f"{counted(len(live.rows), 'stage')}: {by_state}"]
    planned = [row.planned_gpu_hours for row in live.rows if row.planned_gpu_hours is not None]
    if planned:
        found.append(f"GPU-hours: {sum(row.gpu_hours for row in live.rows):,.2f} used, {sum(planned):,.2f} planned")
    if held := held_words(live.covered.held):
        found.append(held)
    if not live.asked:
        found.append("SLURM does not answer here: what waits in its queue is not shown")
    return found


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
            fix=f"hdit-repro submit {name} --scale {scale or ('paper' if job.run.external else 'smoke')} --wait",
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
            with open(path, encoding="utf-8", errors="replace") as file:
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
    """Why stages failed, where their logs do not say it."""
    from hdit_repro.launch.progress import read_failure

    said = False
    for task in tasks:
        logged = "".join(
            path.read_text(encoding="utf-8", errors="replace") for path in _logs_of(task) if path in printed
        )
        whole = task.folder.failure(task.stage)
        for path in (whole, *sorted(whole.parent.glob(f"{task.key}.*-*.failure.json"))):
            try:
                failure = read_failure(path)
            except PermissionError as error:
                refused[path] = error
                continue
            why = str(failure.get("traceback") or failure.get("error", "")).rstrip()
            if why and why not in logged:
                said = True
                data(f"{task.stage} failed: {why}")
    return said


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
