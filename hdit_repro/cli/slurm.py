"""What `submit` says and asks where the cluster is SLURM's."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from hdit_repro.cli.output import as_json, data, near, remark
from hdit_repro.errors import RunError, UserError, counted

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.launch.graph import Task
    from hdit_repro.launch.slurm.coverage import Coverage
    from hdit_repro.launch.slurm.draft import Draft
    from hdit_repro.launch.slurm.profile import Slurm
    from hdit_repro.launch.slurm.submit import Submitted
    from hdit_repro.records.layout import Roots


def show(jobs: Sequence[Job], roots: Roots, profile: Slurm, *, allow_dirty: bool, as_objects: bool) -> None:
    """Print the scripts that a submission would hand to sbatch now; what is not committed refuses no scripts."""
    from hdit_repro.cli.plan import say_unseen
    from hdit_repro.launch.slurm import journal, queue
    from hdit_repro.launch.slurm.draft import draft, scripts

    listed = {}
    try:
        listed = queue.squeue(journal.submitters(roots))
    except UserError as error:
        remark(f"{error.problem} ({' '.join(str(error.found).split())}): the queue is taken to be empty")
    planned = draft(jobs, roots, profile, listed, allow_dirty=True)
    made = scripts(planned)
    say_unseen(planned.left, profile)
    if planned.code.source.dirty:
        then = (
            "--allow-dirty keeps them beside the runs"
            if allow_dirty
            else "to submit it, commit them or add --allow-dirty"
        )
        remark(f"the code has changes that no commit holds: {then}")
    if as_objects:
        as_json([script._asdict() for script in made])
        return
    for number, script in enumerate(made, 1):
        elements = f", an array of {script.size}" if script.size > 1 else ""
        data(f"# {number} of {len(made)}: {script.name}{elements}")
        data(f"# {' '.join(('sbatch', *script.arguments, 'SCRIPT'))}")
        data(script.text)
    remark(bill(planned))


def start(
    jobs: Sequence[Job],
    roots: Roots,
    profile: Slurm,
    *,
    yes: bool,
    allow_dirty: bool,
    wait: bool,
    as_objects: bool,
) -> bool:
    """Submit, and print the new jobs' ids; True where everything is done and the tables may be rendered."""
    from hdit_repro.launch.slurm.coverage import held_words
    from hdit_repro.launch.slurm.submit import submit

    render = ("hdit_repro.cli", "render-tables", "--scale", jobs[0].scale)
    made = submit(jobs, roots, profile, render=render, allow_dirty=allow_dirty, confirm=confirmed(yes), busy=say_busy)
    if as_objects:
        as_json({"session": made.session, "jobs": list(made.job_ids), "open": made.open, "queued": made.queued})
    else:
        for job_id in made.job_ids:
            data(job_id)
    remark(outcome(made, profile))
    if held := held_words(made.held):
        remark(held)
    if not wait:
        return made.open == 0 and not as_objects
    _stay(jobs, roots, profile)
    return not as_objects


def confirmed(yes: bool) -> Callable[[Draft], None]:
    """What tells a submission's bill and what its jobs may not find, and asks where it is high and `yes` was not said
    before."""
    from hdit_repro.cli.plan import say_unseen

    def confirm(planned: Draft) -> None:
        say_unseen(planned.left, planned.profile)
        remark(bill(planned))
        if sites := _also_sent_to(planned):
            remark(
                f"stages of these were sent to {', '.join(sites)} too, whose queue is not asked here: cancel them there"
            )
        _ask(planned, yes)

    return confirm


def _also_sent_to(planned: Draft) -> list[str]:
    """Other clusters, by their own names, that may hold what a draft would submit."""
    from hdit_repro.launch.slurm import journal

    new = {task.key for element in planned.elements for task in element.tasks}
    known = journal.journals(planned.roots)
    away = journal.elsewhere(known)
    met = (one for one in known if any(new & {*element.stages} for unit in one.units for element in unit.elements))
    return sorted({away[one.session] for one in met if one.session in away})


def say_busy() -> None:
    """Say what a submission waits for."""
    remark("another submission from this folder of runs is being made, or asked about: waiting for it")


def bill(planned: Draft) -> str:
    """What a draft comes to, in a line."""
    hours, profile = planned.gpu_hours, planned.profile
    jobs = len(planned.elements) + bool(planned.groups)
    calls = len(planned.groups) + bool(planned.groups)
    return (
        f"{counted(jobs, 'job')} in {counted(calls, 'call')} of sbatch, about {hours:,.2f} {profile.gpu}-hours "
        f"(${hours * profile.price_per_gpu_hour:,.0f}), {planned.disk / 1e9:,.1f} GB under {near(planned.roots.runs)}"
    )


def _ask(planned: Draft, yes: bool) -> None:
    """Ask before more than the profile's stated GPU-hours.

    Raises:
        UserError: the answer is no, or nobody can be asked.
    """
    most = planned.profile.ask_above_gpu_hours
    if yes or planned.gpu_hours <= most:
        return
    if sys.stdin.isatty() and typer.confirm("Submit them?", err=True):
        return
    raise UserError(
        "nothing was submitted: it costs more than is given without asking",
        found=f"about {planned.gpu_hours:,.0f} GPU-hours",
        expected=f"{most:,.0f} at most (ask_above_gpu_hours of {planned.profile.name}), or a yes",
        fix="add --yes, or name fewer rows with --rows",
    )


def _there(profile: Slurm) -> str:
    """The option by which other commands find what was submitted: a profile may name a folder of runs of its own."""
    return f" --cluster {profile.name}" if profile.runs else ""


def outcome(made: Submitted, profile: Slurm) -> str:
    """What came of a submission, in a line: the queue may hold all of it, by another command of the same moment."""
    if not made.open:
        return "every stage is done"
    if not made.job_ids:
        return f"nothing new to submit: {made.queued} of {counted(made.open, 'open stage')} in the queue"
    return f"submitted as {made.session}; `hdit-repro status{_there(profile)}` shows how far it is"


def _stay(jobs: Sequence[Job], roots: Roots, profile: Slurm) -> None:
    """Show progress until none of the rows is in the queue any more; a scheduler that does not answer is asked again.

    A stage that has left the queue without output has failed where it has said so, or after `UNSEEN`.

    Raises:
        RunError: stages failed, or ended with something left.
    """
    from hdit_repro.cli.failures import reasons
    from hdit_repro.launch.follow import display, follow
    from hdit_repro.launch.graph import required, tasks_for, unsettled
    from hdit_repro.launch.plan import make_plan
    from hdit_repro.launch.slurm import journal, queue
    from hdit_repro.launch.slurm.coverage import held_words
    from hdit_repro.launch.slurm.draft import coverage_of
    from hdit_repro.launch.slurm.live import UNSEEN
    from hdit_repro.launch.submit import failure_of

    tasks = tasks_for(jobs, roots)
    left = required(tasks)
    hours = {stage.key: max(stage.hours, 1e-9) for stage in make_plan(jobs, roots, profile)}
    there = _there(profile)
    covered: Coverage | None = None
    looked, told = -math.inf, ""
    gone: dict[str, float] = {}

    def alive() -> bool:
        nonlocal covered, looked, told
        if time.monotonic() - looked > queue.POLITE:
            with contextlib.suppress(RunError):
                covered = coverage_of(tasks, roots, queue.squeue(journal.submitters(roots)))
                if (held := held_words(covered.held)) and held != told:
                    shown.event(held)
                told = held
            looked = time.monotonic()
        return covered is None or any(covered.jobs(task.key) for task in tasks) or bool(unsettled(tasks, failed))

    def failed(task: Task) -> bool:
        if covered is None or covered.jobs(task.key) or task.folder.done(task.stage):
            gone.pop(task.key, None)
            return False
        since = gone.setdefault(task.key, time.monotonic())
        return task.folder.state(task.stage) == "failed" or time.monotonic() - since >= UNSEEN

    shown = display()
    try:
        follow(left, hours, alive, failed, shown)
    except KeyboardInterrupt:
        advice = f"`hdit-repro status{there}` shows them, `hdit-repro cancel {jobs[0].experiment}{there}` ends them"
        remark(f"the jobs go on: {advice}")
        raise
    finally:
        shown.close()
    if still := required(tasks):
        why = [task for task in still if task.folder.state(task.stage) == "failed"]
        others = ", ".join(dict.fromkeys(f"{task.name} {task.stage}" for task in still if task not in why))
        raise RunError(
            f"{counted(len(still), 'stage')} not done, and nothing of them in the queue",
            found="\n".join(filter(None, (reasons([failure_of(task) for task in why]), others))),
            expected="every stage done",
            fix=f"`hdit-repro status{there}` says why; `hdit-repro retry {jobs[0].experiment}{there}` tries again",
        )
