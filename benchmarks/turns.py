"""Sides that take turns: calls in this process, or each side in a process of its own, where no other's memory is in the
way."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

_side: Any = None
"""In a side's process: what answers there."""


class OwnProcess:
    """`make(*given)` in a process of its own, made when it is first asked; its methods are called by name.

    What `make` or a method raises is raised by the answer's `result`.
    """

    def __init__(self, make: Callable[..., Any], *given: Any) -> None:
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _leave_with_parent)
        self._make = make, given

    def later(self, method: str, *given: Any) -> Future[Any]:
        """An answer to come, so that others may be asked meanwhile."""
        return self._process.submit(_answer, self._make, method, given)

    def ask(self, method: str, *given: Any) -> Any:
        return self.later(method, *given).result()

    def end(self) -> None:
        """Let it go when it has answered."""
        self._process.shutdown(cancel_futures=True)


def best(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Least seconds of each, over rounds in which all take their turn; the first round is not timed."""
    least = [float("inf")] * len(calls)
    for number in range(rounds + 1):
        for place, call in enumerate(calls):
            began = time.perf_counter()
            call()
            if number:
                least[place] = min(least[place], time.perf_counter() - began)
    return least


def in_turns(
    sides: Mapping[str, OwnProcess], turns: int, seconds: Callable[[OwnProcess], Sequence[float]]
) -> dict[str, float]:
    """The median of the seconds that each side's turns give; every turn all take theirs, one after another."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            found[name] += seconds(side)
    return {name: statistics.median(each) for name, each in found.items()}


def _leave_with_parent() -> None:
    """A benchmark that is killed takes its sides along: they would wait for its next question for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _answer(make: tuple[Callable[..., Any], Sequence[Any]], method: str, given: Sequence[Any]) -> Any:
    global _side
    if _side is None:
        _side = make[0](*make[1])
    return getattr(_side, method)(*given)
