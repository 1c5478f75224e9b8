"""How long the rest takes, in closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hdit_repro.launch.forecast import DOUBT, Forecast, ratio
from hdit_repro.launch.graph import Task, tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.status import Row
from hdit_repro.records.layout import Roots

PLANNED = {"train": 36.0, "sample": 6.0, "evaluate": 4.0}
"""Seconds."""


def forecast(tasks: list[Task]) -> Forecast:
    return Forecast(tasks, {task.key: PLANNED[task.stage] / 3600 for task in tasks})


def rows(tasks: list[Task], *told: tuple[str, int, int, float | None], left: float = 1.0) -> dict[str, Row]:
    """A row a task: its state, done, total and seconds left; what is not told of waits."""
    said = [*told, *[("missing", 0, 0, None)] * (len(tasks) - len(told))]
    return {
        task.key: Row(
            task.name, (task.name,), "smoke", "", task.stage, state, done, of, {}, None, seconds, "", 0.0,
            left=0.0 if state == "done" else left,
        )
        for task, (state, done, of, seconds) in zip(tasks, said, strict=True)
    }  # fmt: skip


@pytest.fixture
def one(roots: Roots) -> list[Task]:
    return tasks_for(wanted("table1", "smoke", ["E"]), roots)


def nobody(_: Task) -> bool:
    return False


def test_nothing_is_foretold_before_anything_is_measured(one: list[Task]) -> None:
    look = forecast(one).look
    assert look(rows(one), nobody, 0.0) is None
    assert look(rows(one, ("running", 0, 0, None)), nobody, 1.0) is None
    assert look(rows(one, ("running", 0, 400, None)), nobody, 2.0) is None


def test_what_runs_says_its_own_and_the_rest_follows_its_pace(one: list[Task]) -> None:
    """As 390 steps of 400 with a second left: minutes were foretold."""
    left = forecast(one).look(rows(one, ("running", 390, 400, 1.0)), nobody, 131.0)
    pace = (1.0 * 39 + DOUBT) / (36 * 390 / 400 + DOUBT)
    assert left == pytest.approx(1.0 + (6 + 4) * pace)


def test_what_is_done_was_measured_by_the_clock(one: list[Task]) -> None:
    look = forecast(one).look
    look(rows(one, ("running", 1, 400, None)), nobody, 20.0)
    left = look(rows(one, ("done", 400, 400, None)), nobody, 120.0)
    assert left == pytest.approx((6 + 4) * (100 + DOUBT) / (36 + DOUBT))
    done = ("done", 1, 1, None)
    assert look(rows(one, done, done, done), nobody, 130.0) == 0.0


def test_a_stage_that_was_begun_before_was_planned_for_its_rest(one: list[Task]) -> None:
    look = forecast(one).look
    look(rows(one, ("running", 300, 400, None), left=0.25), nobody, 0.0)
    left = look(rows(one, ("done", 400, 400, None)), nobody, 30.0)
    assert left == pytest.approx((6 + 4) * (30 + DOUBT) / (36 / 4 + DOUBT))


@pytest.mark.parametrize("at_once", [1, 2])
def test_rows_side_by_side_take_the_longest_or_their_share(roots: Roots, at_once: int) -> None:
    tasks = tasks_for(wanted("table1", "smoke", ["D", "E"]), roots)
    running, waits = ("running", 200, 400, 18.0), ("missing", 0, 0, None)
    told = [running, waits, waits, running if at_once == 2 else waits]
    left = forecast(tasks).look(rows(tasks, *told), nobody, 18.0)
    assert left == pytest.approx(18 + 6 + 4 if at_once == 2 else 18 + 6 + 4 + 36 + 6 + 4), "as planned"
    done = ("done", 1, 1, None)
    told = [running, waits, waits, done, done, running]
    left = forecast(tasks).look(rows(tasks, *told), nobody, 18.0)
    assert left == pytest.approx(18 + 6 + 4), "the longer one, though two work"


def test_nobody_waits_for_what_failed_and_for_what_is_behind_it(roots: Roots) -> None:
    tasks = tasks_for(wanted("table1", "smoke", ["D", "E"]), roots)
    failed: Callable[[Task], bool] = lambda task: task.key == tasks[0].key  # noqa: E731
    told = [("failed", 0, 0, None), *[("missing", 0, 0, None)] * 2, ("running", 200, 400, 18.0)]
    assert forecast(tasks).look(rows(tasks, *told), failed, 18.0) == pytest.approx(18 + 6 + 4)
    assert forecast(tasks).look(rows(tasks, *told), nobody, 18.0) == pytest.approx(36 + 6 + 4 + 18 + 6 + 4), (
        "tried again"
    )


def test_little_is_concluded_from_moments_and_much_from_minutes() -> None:
    assert ratio("train", {}) == 1.0
    assert ratio("train", {"train": (1.0, 0.001)}) < 1.5, "a thousandfold, in a second"
    assert ratio("train", {"train": (1000.0, 1.0)}) > 100
    measured = {"train": (300.0, 100.0), "sample": (100.0, 100.0)}
    overall = (400 + DOUBT) / (200 + DOUBT)
    for stage, (took, planned) in measured.items():
        assert ratio(stage, measured) == pytest.approx((took + DOUBT * overall) / (planned + DOUBT))
    assert ratio("evaluate", measured) == pytest.approx(overall), "of which nothing is known but the machine's pace"
