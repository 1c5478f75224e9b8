"""What `cancel` says of jobs that work for other rows too. No scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import submit
from hdit_repro.records.layout import Roots


def test_a_pack_that_a_row_shares_goes_on_and_is_named(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    submit(wanted("table1", "mini", ["A", "E"]), roots, profile, render=("this",), allow_dirty=True)
    assert fake.queue == ["100", "101"], "a pack and the render"
    assert main(["cancel", "table1/E"]) == 0
    shown, said = capsys.readouterr()
    assert shown == ""
    assert "0 jobs cancelled" in said
    assert "100 works for other rows too and goes on" in said
    assert fake.queue == ["100", "101"]
    assert main(["cancel", "table1"]) == 0
    assert fake.queue == []
    assert "goes on" not in capsys.readouterr().err
    assert main(["cancel", "table1"]) == 0
    assert "no job of table1 is in SLURM's queue" in capsys.readouterr().err


def test_a_training_that_other_rows_wait_for_goes_on(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    submit(wanted("guidance", "paper", ["w1.0", "w1.5"]), roots, profile, render=("this",), allow_dirty=True)
    training, *shards = fake.queue[:-1]
    capsys.readouterr()
    assert main(["cancel", "guidance/w1.5"]) == 0
    shown, said = capsys.readouterr()
    assert shown.split()
    assert {*shown.split()} < {*shards}
    assert f"{training} works for other rows too and goes on" in said
    assert training in fake.queue
    assert main(["cancel", "guidance"]) == 0
    assert fake.queue == []
