"""Start what is missing and, if asked, stay until it is done. The only user of submitit."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import lock
from hdit_repro.jobs import Job
from hdit_repro.launch.clusters import Cluster, Local, Slurm, cpus_here, gpus_here
from hdit_repro.launch.describe import describe
from hdit_repro.launch.follow import Display, follow, settled
from hdit_repro.launch.graph import Task, required
from hdit_repro.launch.job import StageChain, StageFunction, by_urgency
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, tasks_for, to_run
from hdit_repro.launch.progress import read_failure, read_progress, write_failure
from hdit_repro.launch.status import last_line
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings

FOREVER_MINUTES = 60 * 24 * 365
"""submitit ends a local job after two minutes unless it is told a limit."""


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
    """Refuse a submission that this machine or this version cannot carry, with the price and what can be done.

    Raises:
        UserError: a SLURM cluster, or the paper's scale on this machine with something left to run.
    """
    experiment = jobs[0].experiment
    if isinstance(cluster, Slurm):
        raise UserError(
            f"submitting to {cluster.name} is not possible yet: there is no SLURM submission in this version",
            found=f"--cluster {cluster.name}",
            expected="--cluster local",
            fix=f"`hdit-repro plan {experiment} --cluster {cluster.name}` prints what it costs; "
            f"on a node of its own: `hdit-repro submit {experiment} --scale mini --wait`",
        )
    left = to_run(plan)
    if jobs[0].scale == "paper" and left:
        hours = gpu_hours(left)
        raise UserError(
            f"{experiment} at paper scale is too much for this machine",
            found=f"about {hours:,.0f} A100-hours in {len(left)} stages ({left[0].basis})",
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
    with lock(folder / "leash"):
        crew = Crew(folder, replace(chain, leash=folder / "leash", finish=None), cluster)
        with crew.working(), contextlib.closing(display):
            follow(left, hours, crew.alive, chain.failed, display)
    failures = tuple(_failure(task) for task in left if chain.failed(task))
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return Submission(len(left), crew.ids, failures)


def _uses(job: Job, tasks: Sequence[Task]) -> bool:
    return any(job in task.jobs for task in tasks)


def _failure(task: Task) -> Failure:
    error = last_line(str(read_failure(task.folder.failure(task.stage)).get("error", "")))
    return Failure(task.name, task.stage, error, task.folder.log(task.stage))


@dataclass
class Crew:
    """The workers of a submission, as submitit's local jobs.

    A worker that dies (killed, out of memory) is replaced, and the stage that it ran counts as failed, so that the
    other rows come to their end and no stage can kill one worker after another.
    """

    folder: Path
    chain: StageChain
    cluster: Local

    def __post_init__(self) -> None:
        gpus = gpus_here()
        rows = len({task.folder.run.id for task in self.chain.tasks})
        self._count = min(rows, self.cluster.workers(cpus_here(), len(gpus)))
        self._environments = [self._environment(gpus, worker) for worker in range(self._count)]
        threads = max(self.cluster.threads, cpus_here() // self._count) if gpus else self.cluster.threads
        self.chain = replace(self.chain, settings=replace(self.chain.settings, threads=threads))
        self._threads = str(threads)
        self._jobs: dict[str, Any] = {}
        self._started = 0

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(str(job.job_id) for job in self._jobs.values())

    def start(self) -> None:
        """Start all workers."""
        for worker in range(self._count):
            self._hire(worker)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Start all workers; end those that are still there on the way out, whatever the way."""
        try:
            self.start()
            yield
        finally:
            self._end()

    def alive(self) -> bool:
        """Look after the workers: note what a dead one leaves, hire another; False when the work has ended."""
        ended = [name for name, job in self._jobs.items() if job.done()]
        for name in ended:
            job = self._jobs[name]
            if job.paths.result_pickle.exists() and job.exception() is None:
                continue
            if self._note_death(name, job) and not settled(self.chain.tasks, self.chain.failed):
                self._hire(int(name.partition(".")[0]))
            del self._jobs[name]
        return any(not job.done() for job in self._jobs.values())

    def _hire(self, worker: int) -> None:
        import submitit

        logging.getLogger("submitit").setLevel(logging.WARNING)
        name = f"{worker}.{self._started}"
        self._started += 1
        executor = submitit.LocalExecutor(folder=self.folder)
        executor.update_parameters(timeout_min=FOREVER_MINUTES)
        environment = {**self._environments[worker], "OMP_NUM_THREADS": self._threads}
        self._jobs[name] = executor.submit(replace(self.chain, worker=name, environment=environment))

    def _environment(self, gpus: Sequence[str], worker: int) -> dict[str, str | None]:
        """submitit hides all GPUs from a local job; give each worker its own, or what this process sees."""
        seen = gpus[worker % len(gpus)] if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": seen}

    def _note_death(self, name: str, job: Any) -> bool:
        """Count what a dead worker ran as failed; False if it had nothing in hand, so that another would die too."""
        owner = f"{self.chain.session}/{name}"
        told = _tail(Path(str(job.paths.stderr)))
        found = False
        for task in required(self.chain.tasks):
            folder, stage = task.folder, task.stage
            if read_progress(folder.progress(stage)).owner == owner and folder.state(stage) != "running":
                error = f"the process that ran it ended without a word (killed, or out of memory). {told}".strip()
                write_failure(folder.failure(stage), error, told, owner)
                found = True
        if not found:
            raise UserError(
                "a worker ended before it had begun", found=told or "nothing was printed", expected=str(job.paths.stderr)
            )
        return found

    def _end(self) -> None:
        """Interrupt the workers that are left, and see them gone."""
        left = [job for job in self._jobs.values() if not job.done()]
        for job in left:
            with contextlib.suppress(ProcessLookupError):
                job.cancel(check=False)
        deadline = time.monotonic() + 10
        while any(not job.done() for job in left) and time.monotonic() < deadline:
            time.sleep(0.1)


def run_command(command: Sequence[str]) -> int:
    """Run the render at the end of the graph: a command, not an import, so that it may be any version of its own."""
    return subprocess.run(command, check=False).returncode


def _tail(path: Path) -> str:
    """The last line of a worker's own output."""
    with contextlib.suppress(OSError):
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""
