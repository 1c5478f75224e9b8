"""One submission at a time from a workplace, and nothing that it needs is deleted meanwhile. No scheduler."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.files import is_locked, lock, write_text
from hdit_repro.launch import gc
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import submit
from hdit_repro.records.layout import Roots


def test_who_waits_for_another_submission_is_told_once(roots: Roots, fake: Any) -> None:
    profile, told = read_cluster("a100"), list[str]()
    assert isinstance(profile, Slurm)
    other = contextlib.ExitStack()

    def busy() -> None:
        told.append("busy")
        other.close()

    other.enter_context(lock(roots.runs / "submissions" / "submit.lock"))
    for _ in range(2):
        submit(wanted("table1", "paper", ["E"]), roots, profile, render=("this",), allow_dirty=True, busy=busy)
    assert told == ["busy"]
    assert fake.queue == ["100", "101", "102"]


def test_nothing_is_submitted_while_code_is_deleted(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring what may go takes minutes on a large folder, and a submission may take up old code meanwhile."""
    monkeypatch.chdir(roots.runs.parent)
    assert main(["gc", "--delete"]) == 0
    assert not (roots.runs / "submissions").exists(), "nothing is made where nothing was submitted"
    write_text(roots.runs / "submissions" / "s" / "leash", "")
    seen: list[bool] = []
    steps = {name: getattr(gc, name) for name in ("garbage", "remove")}

    def step(name: str) -> Any:
        def act(*arguments: Any, **more: Any) -> Any:
            seen.append(is_locked(roots.runs / "submissions" / "submit.lock"))
            return steps[name](*arguments, **more)

        return act

    for name in steps:
        monkeypatch.setattr(gc, name, step(name))
    assert main(["gc", "--delete"]) == 0
    assert seen == [True, True]
    assert not (roots.runs / "submissions" / "s").exists()
