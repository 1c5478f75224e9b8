"""Where figures are drawn: in this process, or in one beside it, while this one reads records and makes tables."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from hdit_repro.machine import cpus_here
from hdit_repro.render.figures.drawings import FIGURES
from hdit_repro.render.figures.style import KINDS, save


class Task(NamedTuple):
    """A figure to be drawn, and the drawing beside, where there is one."""

    name: str
    material: Any
    begun: Future[list[Path]] | None


class Easel:
    """Draws figures into a folder; the same bytes wherever they are drawn.

    With `beside`, a second process draws what is put while this one goes on, if there is a processor for it. It is
    started afresh and not forked, so that no thread of this one can hurt it; a script that asks for it must be
    importable, as multiprocessing has it. Where it cannot be started, or dies, all is drawn here.
    """

    def __init__(self, out: Path, kinds: Sequence[str] = KINDS, *, beside: bool = False) -> None:
        self.out, self.kinds = out, tuple(kinds)
        self._tasks: list[Task] = []
        self._beside = beside and cpus_here() > 1
        self._helper: ProcessPoolExecutor | None = None

    def put(self, name: str, material: Any) -> None:
        """A figure of FIGURES, by name, with its material."""
        self._tasks.append(Task(name, material, self._begin(name, material)))

    def take(self) -> list[Path]:
        """The files of what was put, whole, in that order.

        Raises:
            RunError: there is no space left.
        """
        return [path for task in self._tasks for path in self._finish(task)]

    def _begin(self, name: str, material: Any) -> Future[list[Path]] | None:
        if not self._beside:
            return None
        try:
            if self._helper is None:
                self._helper = ProcessPoolExecutor(1, get_context("spawn"))
            with _deaf():
                return self._helper.submit(paint, name, material, self.out, self.kinds)
        except (OSError, BrokenProcessPool):
            return None

    def _finish(self, task: Task) -> list[Path]:
        if task.begun is not None:
            try:
                return task.begun.result()
            except BrokenProcessPool:
                pass
        return paint(task.name, task.material, self.out, self.kinds)

    def __enter__(self) -> Easel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._helper is not None:
            self._helper.shutdown(wait=True, cancel_futures=True)


def paint(name: str, material: Any, out: Path, kinds: Sequence[str]) -> list[Path]:
    """Draw one figure in each format."""
    return save(partial(FIGURES[name].draw, material), out, name, kinds)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C waits, and never reaches a process that is started meanwhile: the one that started it ends it.

    The pool is made before, since with it starts multiprocessing's resource tracker, which would lift the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
