"""Start what is missing and, if asked, stay until it is done. On this machine; launch/slurm is the other."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.files import write_bytes
from hdit_repro.jobs import Job, read
from hdit_repro.launch.clusters import Cluster, Local
from hdit_repro.launch.crew import Crew
from hdit_repro.launch.describe import describe
from hdit_repro.launch.follow import Display, follow
from hdit_repro.launch.graph import Task, required, tasks_for, unsettled
from hdit_repro.launch.job import PATIENCE, StageChain, StageFunction, by_urgency
from hdit_repro.launch.lost import refuse_lost
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, to_run
from hdit_repro.launch.price import unit
from hdit_repro.launch.progress import read_failure
from hdit_repro.launch.status import in_a_line
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings
from hdit_repro.training.signals import Preempted

GRACE = 20.0
"""Seconds after the time is up in which a training saves; other stages are ended then, and lose a batch at most."""


WORDS = 1 << 16
"""Bytes that the last words of workers may take."""


class Failure(NamedTuple):
    """A stage that failed: its row, why, where the whole is, and the name that `logs` knows the row by.

    `error` has all lines of an error of the project's, and of any other the line that says most.
    """

    run: str
    stage: str
    error: str
    log: Path
    job: str


class Submission(NamedTuple):
    """What came of a submission: how many stages were open, the workers' ids, and what failed (if waited for)."""

    open: int
    job_ids: tuple[str, ...]
    failures: tuple[Failure, ...]


def refuse_what_cannot_be(jobs: Sequence[Job], plan: Sequence[Stage], cluster: Cluster) -> None:
    """Refuse a submission that this machine cannot carry, with the price and what can be done.

    Raises:
        UserError: the paper's scale on this machine with something left to run.
    """
    asked, on_data = asked_for(jobs), jobs[0].on_data
    others = [job.run for job in jobs if job.run.external]  # images of others cost a feature network and no more
    cheap = {id for run in others for id in (run.sampling_id, run.evaluation_id)}
    left = [stage for stage in to_run(plan) if stage.id not in cheap]
    if isinstance(cluster, Local) and jobs[0].scale == "paper" and left:
        hours = gpu_hours(left)
        raise UserError(
            f"{asked} at paper scale is too much for this machine",
            found=f"about {hours:,.0f} {unit(cluster)}-hours in {counted(len(left), 'stage')} ({left[0].basis})",
            expected="a cluster, or a smaller scale",
            fix=f"`hdit-repro submit {asked}{on_data} --scale smoke --wait` here, "
            f"`hdit-repro plan {asked}{on_data} --cluster a100` for a cluster, or on a card of this machine a stage at "
            f"a time: `hdit-repro train --run {jobs[0].name}{on_data}`, then `sample` and `eval`",
        )


def asked_for(jobs: Sequence[Job]) -> str:
    """The rows of a request as its command named them: the experiment, one row of it, or some of its rows."""
    experiment, rows = jobs[0].experiment, list(dict.fromkeys(job.row for job in jobs))
    if set(rows) == set(read(experiment).rows):
        return experiment
    return f"{experiment}/{rows[0]}" if len(rows) == 1 else f"{experiment} --rows {','.join(rows)}"


def submit(
    jobs: Sequence[Job],
    roots: Roots,
    cluster: Cluster,
    *,
    display: Display | None = None,
    stages: Mapping[str, StageFunction] | None = None,
    render: tuple[str, ...] | None = None,
    stop_after: float = 0.0,
) -> Submission:
    """Run what is missing of `jobs` in processes on this machine.

    Args:
        jobs: the rows.
        roots: the workplace.
        cluster: this machine's profile.
        display: where progress goes while this call waits for the end; None does not wait.
        stages: what runs each stage; None is the suite's own.
        render: the command that renders the tables; where nobody waits, the last worker runs it.
        stop_after: seconds after which a call that waits leaves, its trainings saved; 0 is never.

    Raises:
        UserError: see `refuse_what_cannot_be` and `refuse_lost`.
        RunError: all workers ended with something left, or the disk is full.
        Preempted: the time is up and something is left, a training was asked to leave, by its file `stop` or by a
            signal, or this process was, by TERM or HUP.
        KeyboardInterrupt: Ctrl-C; trainings were saved too.
    """
    plan = make_plan(jobs, roots, cluster)
    left = required(tasks_for(jobs, roots))
    refuse_lost(left)
    refuse_what_cannot_be(jobs, plan, cluster)
    assert isinstance(cluster, Local)
    if not left:
        return Submission(0, (), ())
    keys = {task.key for task in left}
    describe([job for job in jobs if _uses(job, left)], roots)
    hours = {stage.key: max(stage.hours, 1e-9) for stage in plan if stage.key in keys}
    session = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
    folder = roots.runs / "submissions" / session
    chain = StageChain(
        by_urgency(left, hours),
        Settings(training=cluster.training, sampling=cluster.sampling),
        session,
        stages=stages,
        finish=render,
    )
    if display is None:
        crew = Crew(folder, chain, cluster)
        crew.start()
        return Submission(len(left), crew.ids, ())
    deadline = time.time() + stop_after if stop_after else 0.0
    chain = replace(chain, leash=folder / "leash", finish=None, deadline=deadline)
    crew = Crew(folder, chain, cluster)
    try:
        _stay(crew, chain, left, hours, display)
    except KeyboardInterrupt:
        if crew.asked is None:
            raise
        raise _ended_by(crew.asked, crew.outlasting, left) from None
    if chain.late and (open_still := unsettled(left, chain.failed)):
        raise _time_is_up(open_still, left, stop_after)
    if abandoned := chain.open():
        raise _all_ended(abandoned, crew, folder)
    if asked := [task for task in left if chain.left(task)]:
        raise _asked_to_leave(asked)
    failures = tuple(failure_of(task) for task in left if chain.failed(task))
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return Submission(len(left), crew.ids, failures)


def _stay(crew: Crew, chain: StageChain, left: Sequence[Task], hours: Mapping[str, float], display: Display) -> None:
    """Show progress until all is settled, the workers are gone, or the time and the grace after it are over."""

    def alive() -> bool:
        return crew.alive() and not (chain.deadline and time.time() > chain.deadline + GRACE)

    with contextlib.closing(display), crew.working():
        try:
            follow(left, hours, alive, chain.failed, display)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):  # a terminal that is gone
                display.event(f"asked to leave: what runs is saved and ended, for which it has {PATIENCE:g} s")
            raise


def _all_ended(abandoned: Sequence[Task], crew: Crew, folder: Path) -> RunError:
    if not crew.last_words:  # on a full disk nobody can say so, and this raises what it is
        write_bytes(folder / "words", bytes(WORDS))
        (folder / "words").unlink()
    return RunError(
        f"all workers ended with {counted(len(abandoned), 'stage')} left",
        found=crew.last_words or "they printed nothing",
        expected=f"each of {', '.join(dict.fromkeys(task.name for task in abandoned))} done",
        fix=f"their output is in {folder}; the same command goes on from here",
    )


def _time_is_up(open_still: Sequence[Task], left: Sequence[Task], seconds: float) -> Preempted:
    return Preempted(
        "the time is up and what is done is saved",
        found=f"{len(open_still)} of {counted(len(left), 'stage')} left after {seconds / 60:g} min: "
        f"{', '.join(dict.fromkeys(task.name for task in open_still))}",
        expected="more time",
        fix="run the same command again: it goes on from there",
    )


def _ended_by(asked: signal.Signals, outlasting: int, left: Sequence[Task]) -> Preempted:
    open_still = required(left)
    late = f"; {counted(outlasting, 'worker')} had no time to save, and what came after the last save is lost"
    error = Preempted(
        "the submission was asked to leave and what is done is saved",
        found=f"{asked.name}, with {len(open_still)} of {counted(len(left), 'stage')} left" + late * bool(outlasting),
        expected="more time",
        fix="run the same command again: it goes on from there",
    )
    error.signum = asked
    return error


def _asked_to_leave(asked: Sequence[Task]) -> Preempted:
    return Preempted(
        "a training was asked to leave and is saved",
        found=", ".join(task.name for task in asked),
        expected="no file `stop` in a run's folder, and no signal to a worker",
        fix="run the same command again: it goes on from there",
    )


def _uses(job: Job, tasks: Sequence[Task]) -> bool:
    return any(job in task.jobs for task in tasks)


def failure_of(task: Task) -> Failure:
    """Why a stage failed, by its failure file."""
    failure = read_failure(task.folder.failure(task.stage))
    error = str(failure.get("error", ""))
    why = error if failure.get("own") else in_a_line(error)
    return Failure(task.name, task.stage, why, task.folder.log(task.stage), task.job.name)


def run_render(command: Sequence[str]) -> list[Path]:
    """Run the render at the end of the graph, which is a command and not an import, and return the files it wrote.

    Args:
        command: the command; it prints its files as a JSON list.

    Raises:
        RunError: it failed; its own message has gone to stderr.
    """
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    check_rendered(command, done.returncode)
    return [Path(path) for path in json.loads(done.stdout)]


def check_rendered(command: Sequence[str], code: int) -> None:
    """Tell of a render that failed; its own message has gone to stderr.

    Raises:
        RunError: the exit code is not 0.
    """
    if code:
        raise RunError(
            "the tables could not be rendered",
            found=f"exit code {code}",
            expected=" ".join(command),
            fix="run that command by hand: it says what is wrong",
        )
