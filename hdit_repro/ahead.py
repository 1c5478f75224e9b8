"""Work that threads do before its result is asked for. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(
    work: Callable[[S], T], inputs: Iterable[S], depth: int, *, workers: int = 1, name: str = "ahead"
) -> Generator[T, None, None]:
    """`work` of each input, in order, `depth` of them begun before they are asked for. Close it to end the threads.

    Args:
        work: called in a thread; what it raises is raised where its result was to come.
        workers: how many threads.
        name: theirs.
    """
    waiting = iter(inputs)
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        try:
            pending.extend(pool.submit(work, each) for each in islice(waiting, depth))
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(work, each) for each in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
