"""Workers of one job that share rows: what one of them died of is not tried by the others."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hdit_repro.files import lock
from hdit_repro.launch.graph import Task
from hdit_repro.launch.job import StageChain, StageFunction
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import read_progress, write_failure
from hdit_repro.launch.slurm import attempts

MOMENTS = 10.0
"""Seconds within which what ends a whole job has ended this process too."""


class PackChain(StageChain):
    """A worker that counts as failed what another worker of its job was killed in, and goes on with other rows.

    `worker` ends in the worker's number, after the job and how often that was started: what a start of the job that is
    gone left open is tried again, for its node may have failed.
    """

    def _attempt(self, task: Task, functions: Mapping[str, StageFunction]) -> bool:
        return self._note_death(task) or super()._attempt(task, functions)

    def _note_death(self, task: Task) -> bool:
        """Whether the stage's process died and this worker has noted it. A process that ends by itself closes its
        attempt before it lets go of the lock."""
        part, here = Part(task.folder, task.stage), self.owner.rpartition(".")[0]
        if not attempts.is_open(part):
            return False
        with lock(part.lock, wait=False) as held:
            if not held or part.done() or not attempts.is_open(part):
                return False
            if not read_progress(part.progress).owner.startswith(f"{here}."):
                return False
            time.sleep(MOMENTS)
            write_failure(part.failure, f"the process that ran it {attempts.SILENT}", "", self.owner)
            attempts.close(part)
            return True


@contextlib.contextmanager
def led(path: Path, rank: int, requeue: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """While a worker works: submitit has the first one alone requeue the job, and where that is dead another has to.

    Args:
        path: a file of this start of the job that the first worker keeps locked for as long as it lives.
        rank: the worker's number.
        requeue: puts the job back into the queue.

    Yields:
        What requeues the job, unless a worker is there that does; the others call it on USR2 too.
    """

    def instead() -> None:
        with lock(path, wait=False) as held:
            if held:
                requeue()

    if not rank:
        with lock(path):
            yield instead
        return
    before = signal.signal(signal.SIGUSR2, lambda number, frame: instead())
    try:
        yield instead
    finally:
        signal.signal(signal.SIGUSR2, before)
