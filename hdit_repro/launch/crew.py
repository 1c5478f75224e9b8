"""The workers of a submission on this machine: hired, replaced when they die, ended with it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from hdit_repro.files import lock, read_text
from hdit_repro.launch.clusters import Local, gpus_here
from hdit_repro.launch.graph import required
from hdit_repro.launch.job import PATIENCE, StageChain
from hdit_repro.launch.progress import read_progress, write_failure
from hdit_repro.machine import cpus_here

FOREVER_MINUTES = 60 * 24 * 365
"""submitit ends a local job after two minutes unless it is told a limit."""

ASKING = (signal.SIGTERM, signal.SIGHUP)
"""What ends a submission besides Ctrl-C: the time of a job around it is up, its terminal is gone."""


class Crew:
    """The workers of a submission, as submitit's local jobs.

    A worker that dies (killed, out of memory) is replaced, and the stage that it ran counts as failed, so that the
    other rows come to their end and no stage can kill one worker after another.

    Args:
        folder: the submission's own folder, for submitit's files.
        chain: what each worker runs; `worker`, `environment` and the threads are set here.
        cluster: this machine's profile.

    Attributes:
        asked: the signal of `ASKING` that came; None is none, and Ctrl-C.
        outlasting: workers that were not gone when the crew was ended and its patience was over.
        last_words: of the last worker that died.
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
        self.asked: signal.Signals | None = None
        self.outlasting = 0
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
        """Start all workers; end those that are still there on the way out, whatever the way.

        Raises:
            KeyboardInterrupt: a signal of `ASKING` came, which is `asked` then, or Ctrl-C.
        """
        assert self._chain.leash is not None
        heard = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
        with lock(self._chain.leash), _handled(dict.fromkeys(heard, self._interrupt)):
            try:
                self.start()
                yield
            finally:
                self._end()  # before the leash is let go, so that a training can save

    def alive(self) -> bool:
        """Look after the workers: note what a dead one leaves, hire another; False when the work has ended."""
        for name in [name for name, job in self._at_work.items() if job.done()]:
            job = self._at_work.pop(name)
            if job.paths.result_pickle.exists() and job.exception() is None:
                continue
            self.last_words = _tail(Path(str(job.paths.stderr)))
            if self._note_death(name) and self._chain.open():
                self._hire(int(name.partition(".")[0]))
        return bool(self._at_work)

    def _hire(self, place: int) -> None:
        import submitit

        name = f"{place}.{len(self._hired)}"
        executor = submitit.LocalExecutor(folder=self._folder)
        executor.update_parameters(timeout_min=FOREVER_MINUTES)
        chain = replace(self._chain, worker=name, environment=self._environment(place))
        with _stderr_into(self._folder / "controllers.log"), signals_of_workers():
            job = executor.submit(chain)
        self._at_work[name] = job
        self._hired.append(str(job.job_id))

    def _environment(self, place: int) -> dict[str, str | None]:
        """submitit hides all GPUs from a local job; each worker gets its own, or sees what this process sees."""
        gpus = self._gpus
        seen = gpus[place % len(gpus)] if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": seen, "OMP_NUM_THREADS": str(self._chain.settings.threads)}

    def _note_death(self, name: str) -> bool:
        """Count what a dead worker ran as failed, unless it was asked to leave and saved it; False where it had nothing
        in hand or another took it up."""
        owner = f"{self._chain.session}/{name}"
        noted = False
        for task in required(self._chain.tasks):
            folder, stage = task.folder, task.stage
            if read_progress(folder.progress(stage)).owner != owner or folder.state(stage) != "missing":
                continue
            if not self._chain.left(task):
                error = f"the process that ran it ended without a word: killed, or out of memory. {self.last_words}"
                write_failure(folder.failure(stage), error.strip(), self.last_words, owner)
            noted = True
        return noted

    def _end(self) -> None:
        """Interrupt the workers that are left, and see them gone; what is not by then loses its leash."""
        left = [job for job in self._at_work.values() if not job.done()]
        for job in left:
            with contextlib.suppress(ProcessLookupError):
                job.cancel(check=False)
        deadline = time.monotonic() + PATIENCE
        self.outlasting = len(left)  # where a second signal ends the wait
        while self.outlasting and time.monotonic() < deadline:
            self.outlasting = sum(not job.done() for job in left)
            time.sleep(0.05)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        raise KeyboardInterrupt


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


@contextlib.contextmanager
def signals_of_workers() -> Iterator[None]:
    """Let processes started meanwhile hear SIGINT, by which submitit cancels, though this one may have been told to
    ignore it: behind nohup, or in a script's background. A terminal that goes is this process's affair alone, which
    lets them save."""
    heard: dict[signal.Signals, Any] = {signal.SIGHUP: signal.SIG_IGN}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        heard[signal.SIGINT] = signal.default_int_handler
    with _handled(heard):
        yield


@contextlib.contextmanager
def _handled(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Other handlers of signals for a while. Only the main thread may have them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _tail(path: Path) -> str:
    """The last line of a worker's own output."""
    with contextlib.suppress(OSError):
        lines = [line for line in read_text(path, errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""
