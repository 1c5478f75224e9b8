"""What `cluster check` does while it waits for its job. No scheduler."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from hdit_repro.errors import RunError
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.slurm import queue
from hdit_repro.launch.slurm.check import check
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots


def started(roots: Roots, patience: float) -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    check(profile, roots, 1, patience)


def test_a_controller_that_does_not_answer_for_a_moment_is_asked_again(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    listed = queue.squeue

    def squeue() -> dict[str, queue.Queued]:
        asked.append(1)
        if len(asked) == 1:
            raise RunError("squeue failed", found="Unable to contact slurm controller")
        return listed()

    monkeypatch.setattr(queue, "squeue", squeue)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr("hdit_repro.launch.slurm.check.time", clock)
    with pytest.raises(RunError, match="did not come to an end in time") as late:
        started(roots, 1.0)
    assert late.value.found == "job 100: pending (Priority)"
    assert len(asked) == 4
    assert fake.queue == []


def test_a_check_that_is_interrupted_leaves_no_job(roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        assert fake.queue == ["100"]
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "squeue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        started(roots, 600.0)
    assert fake.queue == []
