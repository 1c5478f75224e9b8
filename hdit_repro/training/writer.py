"""Checkpoints written in the background, from a copy on the host, so that training goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from torch import Tensor

from hdit_repro.training.checkpoint import clear_partial, save_checkpoint, save_snapshot, thin
from hdit_repro.training.state import TrainingState


class CheckpointWriter:
    """Writes a run's checkpoints one after another in one thread; at most one waits in memory.

    As a context it waits for the last one at its end. An error of the thread is raised by the next call.

    Args:
        folder: for the files.
        run: the training id.
        active: False for a process that writes nothing; it does as told and nothing happens.
        before: called before a checkpoint is written, in the caller's thread.
    """

    def __init__(
        self, folder: Path, run: str, *, active: bool = True, before: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.run, self.active, self.before = folder, run, active, before
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        if active:
            clear_partial(folder)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()

    def save(self, state: TrainingState) -> None:
        """Begin to write a checkpoint of the state as it is now; waits for the one before."""
        if self.active:
            self.before()
            self._submit(state.tensors(), state.step, self._write)

    def snapshot(self, state: TrainingState) -> None:
        """Begin to write the averages as they are now; those of an earlier start may have been damaged since."""
        if self.active:
            self._submit(state.averaged(), state.step, self._write_averages)

    def poll(self) -> None:
        """Raise the thread's error if it has ended with one.

        Raises:
            RunError: the disk is full; the checkpoints before stand.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Until everything is written; raises the thread's error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _submit(self, tensors: dict[str, Tensor], step: int, write: Callable[[dict[str, Tensor], int], None]) -> None:
        self.wait()
        copies = {name: value.to("cpu", copy=True) for name, value in tensors.items()}
        self._pending = self._pool.submit(write, copies, step)

    def _write(self, tensors: dict[str, Tensor], step: int) -> None:
        save_checkpoint(self.folder, tensors, step, self.run)
        thin(self.folder, step)

    def _write_averages(self, tensors: dict[str, Tensor], step: int) -> None:
        save_snapshot(self.folder, tensors, step, self.run)
