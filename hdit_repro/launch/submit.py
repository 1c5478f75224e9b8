"""Start what is missing and, if asked, stay until it is done. On this machine; launch/slurm is the other."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock
from hdit_repro.jobs import Job
from hdit_repro.launch.clusters import Cluster, Local, cpus_here, gpus_here
from hdit_repro.launch.describe import describe
from hdit_repro.launch.follow import Display, follow
from hdit_repro.launch.graph import Task, required, unsettled
from hdit_repro.launch.job import StageChain, StageFunction, by_urgency
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, tasks_for, to_run
from hdit_repro.launch.price import unit
from hdit_repro.launch.progress import read_failure, read_progress, write_failure
from hdit_repro.launch.status import last_line
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings

FOREVER_MINUTES = 60 * 24 * 365
"""submitit ends a local job after two minutes unless it is told a limit."""

PATIENCE = 10.0
"""Seconds that interrupted workers get to end."""


class Failure(NamedTuple):
    """A stage that failed: its row, the last line of why, and where the whole is."""

    run: str
    stage: str
    error: str
    log: Path


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
    experiment = jobs[0].experiment
    left = to_run(plan)
    if isinstance(cluster, Local) and jobs[0].scale == "paper" and left:
        hours = gpu_hours(left)
        raise UserError(
            f"{experiment} at paper scale is too much for this machine",
            found=f"about {hours:,.0f} {unit(cluster)}-hours in {len(left)} stages ({left[0].basis})",
            expected="a cluster, or a smaller scale",
            fix=f"`hdit-repro submit {experiment} --scale smoke --wait` here, "
            f"or `hdit-repro plan {experiment} --cluster a100` for a cluster",
        )


def submit(
    jobs: Sequence[Job],
    roots: Roots,
    cluster: Cluster,
    *,
    display: Display | None = None,
    stages: Mapping[str, StageFunction] | None = None,
    render: tuple[str, ...] | None = None,
) -> Submission:
    """Run what is missing of `jobs` in processes on this machine.

    Args:
        jobs: the rows.
        roots: the workplace.
        cluster: this machine's profile.
        display: where progress goes while this call waits for the end; None does not wait.
        stages: what runs each stage; None is the suite's own.
        render: the command that renders the tables; where nobody waits, the last worker runs it.

    Raises:
        UserError: see `refuse_what_cannot_be`.
    """
    plan = make_plan(jobs, roots, cluster)
    refuse_what_cannot_be(jobs, plan, cluster)
    assert isinstance(cluster, Local)
    left = required(tasks_for(jobs, roots))
    if not left:
        return Submission(0, (), ())
    keys = {task.key for task in left}
    describe([job for job in jobs if _uses(job, left)], roots)
    hours = {stage.key: max(stage.hours, 1e-9) for stage in plan if stage.key in keys}
    session = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    folder = roots.runs / "submissions" / session
    chain = StageChain(by_urgency(left, hours), Settings(), session, stages=stages, finish=render)
    if display is None:
        crew = Crew(folder, chain, cluster)
        crew.start()
        return Submission(len(left), crew.ids, ())
    crew = Crew(folder, replace(chain, leash=folder / "leash", finish=None), cluster)
    with contextlib.closing(display), crew.working():
        follow(left, hours, crew.alive, chain.failed, display)
    if abandoned := unsettled(left, chain.failed):
        raise RunError(
            f"all workers ended with {len(abandoned)} stages left",
            found=crew.last_words or "they printed nothing",
            expected=f"each of {', '.join(dict.fromkeys(task.name for task in abandoned))} done",
            fix=f"their output is in {folder}; the same command goes on from here",
        )
    failures = tuple(_failure(task) for task in left if chain.failed(task))
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return Submission(len(left), crew.ids, failures)


def _uses(job: Job, tasks: Sequence[Task]) -> bool:
    return any(job in task.jobs for task in tasks)


def _failure(task: Task) -> Failure:
    error = last_line(str(read_failure(task.folder.failure(task.stage)).get("error", "")))
    return Failure(task.name, task.stage, error, task.folder.log(task.stage))


class Crew:
    """The workers of a submission, as submitit's local jobs.

    A worker that dies (killed, out of memory) is replaced, and the stage that it ran counts as failed, so that the
    other rows come to their end and no stage can kill one worker after another.

    Args:
        folder: the submission's own folder, for submitit's files.
        chain: what each worker runs; `worker`, `environment` and the threads are set here.
        cluster: this machine's profile.
    """

    def __init__(self, folder: Path, chain: StageChain, cluster: Local) -> None:
        gpus = gpus_here()
        rows = len({task.folder.run.id for task in chain.tasks})
        self._count = min(rows, cluster.workers(cpus_here(), len(gpus)))
        self._gpus, self._folder = gpus, folder
        threads = max(cluster.threads, cpus_here() // self._count) if gpus else cluster.threads
        self._chain = replace(chain, settings=replace(chain.settings, threads=threads))
        self._at_work: dict[str, Any] = {}
        self._hired: list[str] = []
        self.last_words = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """submitit's ids of all workers so far."""
        return tuple(self._hired)

    def start(self) -> None:
        """Start all workers."""
        for place in range(self._count):
            self._hire(place)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Start all workers; end those that are still there on the way out, whatever the way."""
        assert self._chain.leash is not None
        try:
            with lock(self._chain.leash):
                self.start()
                yield
        finally:
            self._end()

    def alive(self) -> bool:
        """Look after the workers: note what a dead one leaves, hire another; False when the work has ended."""
        for name in [name for name, job in self._at_work.items() if job.done()]:
            job = self._at_work.pop(name)
            if job.paths.result_pickle.exists() and job.exception() is None:
                continue
            self.last_words = _tail(Path(str(job.paths.stderr)))
            if self._note_death(name) and unsettled(self._chain.tasks, self._chain.failed):
                self._hire(int(name.partition(".")[0]))
        return bool(self._at_work)

    def _hire(self, place: int) -> None:
        import submitit

        name = f"{place}.{len(self._hired)}"
        executor = submitit.LocalExecutor(folder=self._folder)
        executor.update_parameters(timeout_min=FOREVER_MINUTES)
        chain = replace(self._chain, worker=name, environment=self._environment(place))
        with _stderr_into(self._folder / "controllers.log"):
            job = executor.submit(chain)
        self._at_work[name] = job
        self._hired.append(str(job.job_id))

    def _environment(self, place: int) -> dict[str, str | None]:
        """submitit hides all GPUs from a local job; each worker gets its own, or sees what this process sees."""
        gpus = self._gpus
        seen = gpus[place % len(gpus)] if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": seen, "OMP_NUM_THREADS": str(self._chain.settings.threads)}

    def _note_death(self, name: str) -> bool:
        """Count what a dead worker ran as failed; False where it had nothing in hand or another took it up."""
        owner = f"{self._chain.session}/{name}"
        noted = False
        for task in required(self._chain.tasks):
            folder, stage = task.folder, task.stage
            if read_progress(folder.progress(stage)).owner == owner and folder.state(stage) == "missing":
                error = f"the process that ran it ended without a word: killed, or out of memory. {self.last_words}"
                write_failure(folder.failure(stage), error.strip(), self.last_words, owner)
                noted = True
        return noted

    def _end(self) -> None:
        """Interrupt the workers that are left, and see them gone."""
        left = [job for job in self._at_work.values() if not job.done()]
        for job in left:
            with contextlib.suppress(ProcessLookupError):
                job.cancel(check=False)
        deadline = time.monotonic() + PATIENCE
        while any(not job.done() for job in left) and time.monotonic() < deadline:
            time.sleep(0.05)


@contextlib.contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Give processes started meanwhile another stderr: submitit's own would print their interruption on ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(2)
    try:
        with open(path, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def run_render(command: Sequence[str]) -> list[Path]:
    """Run the render at the end of the graph, which is a command and not an import, and return the files it wrote.

    Args:
        command: the command; it prints its files as a JSON list.

    Raises:
        RunError: it failed; its own message has gone to stderr.
    """
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunError(
            "the tables could not be rendered", found=f"exit code {done.returncode}", expected=" ".join(command)
        )
    return [Path(path) for path in json.loads(done.stdout)]


def _tail(path: Path) -> str:
    """The last line of a worker's own output."""
    with contextlib.suppress(OSError):
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""
