"""What a job of the scheduler executes: the stages of one element, with requeueing where that helps.

submitit unpickles it in the job, catches USR2 (preemption, end of time) and asks `checkpoint` for what to requeue. The
trainer catches USR2 itself, finishes its step, saves, and raises `Preempted`; then submitit's handler is called here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hdit_repro.errors import RunError, UserError
from hdit_repro.launch.clusters import gpus_here
from hdit_repro.launch.graph import Task
from hdit_repro.launch.job import POLL, StageFunction, default_stages, execute, into_log, settings_for
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import for_log, note_failure
from hdit_repro.launch.slurm import attempts, journal, ranks
from hdit_repro.launch.slurm.pack import PackChain, led
from hdit_repro.launch.status import in_a_line
from hdit_repro.stages.settings import Progress, Settings
from hdit_repro.training.rendezvous import Lost, Place, place
from hdit_repro.training.signals import Preempted

GRACE = 900.0
"""Seconds that a process waits to be ended by the scheduler, after it has done what it could."""

AWAY, PAUSE = 600.0, 10.0
"""Seconds for which a controller that is being restarted is waited for, and between two tries."""

MOMENTS = 10.0
"""Seconds within which what happens to one process of a job has reached the others: a signal, a loss."""


@dataclass(frozen=True)
class StageJob:
    """The stages of one element, in order: the first of `numbers` if given, the others when all it needs is there.

    Attributes:
        tasks: the stages; of a pack, those of several rows, which its processes share.
        session: the submission's name.
        settings: what cannot change numbers.
        gpus: of the whole job, for the bill.
        numbers: of the samples that the first stage draws; None is all.
        packed: whether the processes are workers of their own, and not ranks of one training.
        stages: what runs each stage; None is the suite's own.
    """

    tasks: tuple[Task, ...]
    session: str
    settings: Settings
    gpus: int
    numbers: range | None = None
    packed: bool = False
    stages: Mapping[str, StageFunction] | None = None

    def __call__(self) -> object:
        here = place("slurm")
        if self.packed:
            return self._pack(here)
        if here.size > 1:
            os.environ.update(rendezvous(here))
        functions = self.stages or default_stages()
        for number, task in enumerate(self.tasks):
            numbers = self.numbers if number == 0 else None
            if task.ready or number == 0:
                self._run(task, numbers, functions[task.stage], here)
        return [task.key for task in self.tasks if task.folder.done(task.stage)]

    def checkpoint(self) -> Any:
        """For submitit, which requeues what this returns: the same again, since every stage goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, task: Task, numbers: range | None, function: StageFunction, here: Place) -> None:
        if here.rank:
            self._follow(task, function, here.rank)
            return
        part = Part(task.folder, task.stage, numbers)
        name = f"{task.stage} of {task.name}"
        with into_log(part.log, f"{name}, job {job_id()}"):
            try:
                with self._attempt(part):
                    if not task.ready:
                        raise UserError(
                            f"{name} needs what {task.before} leaves",
                            found=f"nothing finished under {task.folder.path}",
                            expected=f"{task.before} done",
                            fix="hdit-repro status says what became of it; hdit-repro retry submits it again",
                        )
                    owner, lead = f"{self.session}/{job_id()}", _told_of_others(function, part)
                    execute(task, lead, self.settings, owner=owner, numbers=numbers, around=self._noted)
            except Exception as error:
                print(for_log(error), file=sys.stderr)
                raise

    def _follow(self, task: Task, function: StageFunction, rank: int) -> None:
        """A rank besides the first: it takes part, writes no more than why it fails, and else waits to be ended."""
        if task.folder.done(task.stage):
            return
        try:
            function(task.job, task.folder, settings_for(task, self.settings), _silent)
        except Preempted:
            time.sleep(GRACE)
            raise
        except Exception as error:
            if not isinstance(error, Lost):
                part = Part(task.folder, task.stage)
                note_failure(part.failure, error, f"{self.session}/{job_id()}")  # the first may be ended before it can
                with contextlib.suppress(OSError, RunError):
                    ranks.leave(part, job_id(), rank, error)
                    self._in_place_of_the_first(part, error)
            raise

    def _in_place_of_the_first(self, part: Part, error: Exception) -> None:
        """Note the attempt's end and requeue the job where the first rank does not within moments: on cards it waits
        for a sum that never comes, hears of nothing, and is ended with this process."""
        deadline = time.monotonic() + MOMENTS
        while attempts.is_open(part):
            if time.monotonic() >= deadline:
                attempts.end(part, _why(error))
                if may_try_again(error, part, self.session):
                    requeue()
                return
            time.sleep(POLL)

    @contextlib.contextmanager
    def _attempt(self, part: Part) -> Iterator[None]:
        """Requeue the job where its attempt was preempted, or may fail once more."""
        told, before = signal.getsignal(signal.SIGUSR2), len(attempts.read(part.attempts))
        try:
            yield
        except Preempted as error:
            _leave(told, error.signum)
            raise
        except Exception as error:
            if len(attempts.read(part.attempts)) > before and may_try_again(error, part, self.session):
                requeue()
            if not part.failure.exists():
                note_failure(part.failure, error, f"{self.session}/{job_id()}")
            raise

    def _pack(self, here: Place) -> object:
        """A worker among others of this job, each with a GPU of its own, that share the rows."""
        gpus = gpus_here()  # a site that hands out whole nodes may name none
        if len(gpus) > here.local_rank and here.size > 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[here.local_rank]
        told = signal.getsignal(signal.SIGUSR2)
        restart = os.environ.get("SLURM_RESTART_COUNT", "0")
        worker = f"{job_id()}.{restart}.{here.rank}"
        functions = self.stages or default_stages()
        chain = PackChain(self.tasks, self.settings, self.session, worker, stages=functions, around=self._noted)
        lead = journal.folder(self.tasks[0].folder.roots, self.session) / f"{job_id()}.{restart}.lead"
        with led(lead, here.rank, requeue) as requeue_instead:
            try:
                return chain()
            except Preempted as error:
                if not here.rank:
                    _leave(told, error.signum)
                    raise
                if error.signum == signal.SIGUSR2:
                    requeue_instead()
                time.sleep(GRACE)
                raise

    @contextlib.contextmanager
    def _noted(self, task: Task, part: Part) -> Iterator[None]:
        """Note the start and the end of an attempt, under the stage's lock; of a pack, a worker has one GPU."""
        why, gpus = "preempted", 1 if self.packed else self.gpus  # submitit's handler requeues and exits
        attempts.begin(part, self.session, job_id(), gpus, f"{task.stage} of {task.name}")
        try:
            yield
            why = "done"
        except Preempted:
            raise
        except Exception as error:
            why = _why(error)
            raise
        finally:
            attempts.end(part, why)


def _why(error: Exception) -> str:
    """An error in a line."""
    return in_a_line(str(error)) or type(error).__name__


def _told_of_others(function: StageFunction, part: Part) -> StageFunction:
    """The first rank's work, which raises what another has failed of in the place of its loss."""

    def run(*arguments: Any, **more: Any) -> object:
        try:
            return function(*arguments, **more)
        except Lost as lost:
            if (error := ranks.cause(part, job_id(), MOMENTS)) is None:
                raise
            raise error from lost

    return run


def rendezvous(here: Place) -> dict[str, str]:
    """The variables of env:// for a place among several."""
    return {
        "RANK": str(here.rank),
        "WORLD_SIZE": str(here.size),
        "LOCAL_RANK": str(here.local_rank),
        "MASTER_ADDR": here.address,
        "MASTER_PORT": str(here.port),
    }


def job_id() -> str:
    """This job's id as the queue shows it: "12", or "12_3" of an array."""
    array, place_in = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place_in}" if array else os.environ.get("SLURM_JOB_ID", "0")


def may_try_again(error: Exception, part: Part, session: str) -> bool:
    """Whether another attempt could end otherwise: not for a request that was wrong, and not after too many."""
    return type(error) is not UserError and not attempts.spent(attempts.read(part.attempts), session)


def requeue() -> None:
    """Put this job back into the queue, which ends it; where that is not allowed, or not possible, return."""
    deadline, answers = time.monotonic() + AWAY, False
    while True:
        try:
            subprocess.run(["scontrol", "requeue", job_id()], check=True, capture_output=True, text=True)
            break
        except (OSError, subprocess.CalledProcessError) as error:
            if answers or isinstance(error, OSError) or time.monotonic() > deadline:
                _not_requeued(error)
                return
        answers = subprocess.run(["scontrol", "ping"], check=False, capture_output=True).returncode == 0
        time.sleep(0.0 if answers else PAUSE)
    print(f"requeued {job_id()}", file=sys.stderr, flush=True)
    time.sleep(GRACE)


def _not_requeued(error: OSError | subprocess.CalledProcessError) -> None:
    why = (isinstance(error, subprocess.CalledProcessError) and error.stderr) or error
    print(f"not requeued: {str(why).strip()}", file=sys.stderr)


def _leave(told: Callable[..., Any] | int | None, signum: int | None) -> None:
    """After a save: requeue through submitit on USR2; on TERM or INT wait for its sender, who knows what is next.

    Without a signal it was a stop file, and the job ends; or another process of the run has heard a USR2 first: it
    reaches this one within moments, and submitit's handler has it by now.
    """
    if signum is None:
        time.sleep(MOMENTS)
    elif signum in (signal.SIGTERM, signal.SIGINT):
        time.sleep(GRACE)
    elif callable(told):
        try:
            told(signal.SIGUSR2, None)
        except (OSError, subprocess.SubprocessError):
            requeue()


def _silent(progress: Progress) -> None:
    """Progress of a rank that is not the first."""
