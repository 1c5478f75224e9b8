"""Work done ahead in threads: in order, no further than asked, and ended with its generator."""

from __future__ import annotations

import threading
from threading import Event

import pytest

from hdit_repro.ahead import ahead

WAIT = 60.0


def test_results_come_in_order_and_closing_ends_the_thread():
    asked = []

    def work(number):
        asked.append(number)
        return number * number

    found = ahead(work, range(1000), 2, name="few")
    assert [next(found) for _ in range(5)] == [0, 1, 4, 9, 16]
    found.close()
    assert len(asked) <= 7
    assert not any(thread.name.startswith("few") for thread in threading.enumerate())
    assert list(ahead(work, range(3), 5)) == [0, 1, 4]


def test_an_error_comes_where_its_result_was_to_come():
    found = ahead(lambda number: 6 // number, [3, 2, 0, 1], 4)
    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_several_threads_work_at_once():
    """The first ends only once the second has begun."""
    begun = Event()

    def work(number):
        return begun.wait(WAIT) if number == 0 else begun.set()

    assert list(ahead(work, range(2), 2, workers=2)) == [True, None]
