"""How often a command that goes on looking asks SLURM's controller. No scheduler."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.launch.slurm import queue
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by a clock of which sleeping is all that takes time."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    for command in ("status", "logs"):
        monkeypatch.setattr(f"hdit_repro.cli.{command}.time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize("command", [["status", "--watch"], ["logs", "table1/E", "--follow"]])
def test_who_watches_asks_the_controller_every_ten_seconds(
    roots: Roots, fake: Any, send: Send, monkeypatch: pytest.MonkeyPatch, clock: list[float], command: list[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    asked: list[float] = []
    listed = queue.squeue

    def squeue(*users: Any) -> dict[str, queue.Queued]:
        asked.append(clock[0])
        if len(asked) == 3:
            fake.end_all()
        return listed(*users)

    monkeypatch.setattr(queue, "squeue", squeue)
    assert main(command) == 0
    assert len(asked) >= 3
    assert {later - sooner for sooner, later in pairwise(asked)} == {10.0}
