"""What `cancel` says of jobs that work for other rows too. No scheduler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.files import read_json, write_json
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


def test_rows_that_are_one_run_are_named_where_they_go_together(
    roots: Roots, fake: Any, send: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    send(roots, ["E"])
    before = fake.queue
    made = submit(wanted("table2", "paper", ["lerp"]), roots, profile, render=("this",), allow_dirty=True)
    assert (made.job_ids, made.queued) == ((), 3), "it is table1/E"
    assert main(["status", "table2", "--json"]) == 0
    assert {row["run"] for row in json.loads(capsys.readouterr().out)} == {"table2/lerp"}
    assert main(["cancel", "table1", "--json"]) == 0
    shown, said = capsys.readouterr()
    assert (json.loads(shown), fake.queue) == (before, [])
    assert "table2/lerp is the same run, and cancelled with it: `hdit-repro retry table2/lerp` submits it again" in said
    assert main(["retry", "table2/lerp", "--yes", "--allow-dirty"]) == 0
    assert len(fake.queue) == len(before)


def test_a_row_that_joins_what_is_queued_changes_no_word_of_its_code(roots: Roots, fake: Any, send: Any) -> None:
    send(roots, ["E"])
    (path,) = roots.runs.glob("*/run.json")
    write_json(path, {**read_json(path), "commit": "older", "dirty": False})
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    submit(wanted("table2", "paper", None), roots, profile, render=("this",), allow_dirty=True)
    value = read_json(path)
    assert (value["names"], value["commit"], value["dirty"]) == (["table1/E", "table2/lerp"], "older", False)
