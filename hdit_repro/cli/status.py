"""How far things are: `status`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark, width
from hdit_repro.errors import UserError, counted

if TYPE_CHECKING:
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.slurm.journal import Damaged
    from hdit_repro.launch.slurm.live import Live
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
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds until nothing runs.")] = False,
    cluster: options.Place = "local",
    as_objects: options.Json = False,
) -> None:
    """Show each row that was submitted here, from disk and queue: stages, loss, speed, time left, GPU-hours, failures.

    Example: hdit-repro status table1 --watch
    """
    from hdit_repro.errors import pick
    from hdit_repro.jobs import experiments
    from hdit_repro.jobs.rows import row_of
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
                row_of(name, row)
        lost = [_trouble(path) for path in unreadable(roots, tasks)]
        lost += [f"{unread(error)}, and its run is not shown" for error in refused]
        lost += [f"{unread(error)}, and its jobs are not shown" for error in submissions]
        lost += [
            f"{near(path)} is damaged, and GPU-hours and failures in it are not counted; delete it before a retry"
            for path in live.damaged
        ]
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
    from hdit_repro.files import read_bytes

    try:
        read_bytes(path)
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
