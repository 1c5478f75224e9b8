"""The table of speed: its parts run, small, and what is missing is said."""

import json
import sys
from concurrent.futures import Future
from importlib import import_module

import pytest
import torch

from hdit_repro.metrics.statistics import statistics_of


@pytest.fixture
def bench(script):
    return script("bench")


def test_both_sides_of_attention_give_the_same(bench):
    q = torch.randn(1, 16, 16, 2, 8)
    torch.testing.assert_close(bench.Neighborhood(bench.KERNEL)(q, q, q), bench.dense(16)(q, q, q))


def test_attention_rows_hold_their_targets_against_what_was_measured(bench, monkeypatch):
    monkeypatch.setattr(bench, "SIDES", (8, 16))
    monkeypatch.setattr(bench, "both_ways", lambda attend, side: side)
    monkeypatch.setattr(bench, "DENSE_SIDES", (8, 16))
    times = iter([[2.0, 10.0], [1.0, 4.0], [1.0, 16.0]])
    monkeypatch.setattr(bench, "best", lambda calls, rounds: next(times))
    against, slope = bench.attention()
    assert (against.better, against.met) == (5.0, True)
    assert (slope.ours, slope.met, slope.peer) == (pytest.approx(1.0), True, pytest.approx(2.0))


def test_a_missing_peer_is_said_and_what_is_measured_is_written(bench, monkeypatch, tmp_path, capsys):
    row = bench.Row("a", "s", 2.0, "b", 3.0, 1.5, ">= 2", False)
    monkeypatch.setattr(bench, "PARTS", {"attention": lambda *_: [row], "steps": bench.steps})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--write", str(tmp_path), "--threads", str(torch.get_num_threads())])
    bench.main()
    printed = capsys.readouterr().out
    assert "| a | s | 2 | b | 3 | 1.5 | >= 2 | no |" in printed
    assert "Not at hand: the authors' code" in printed
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["rows"] == [row._asdict()]
    assert {"cpu", "cores", "commit", "versions", "command"} <= found["machine"].keys()
    assert (tmp_path / "bench.md").read_text() == printed


def test_how_far_the_ratios_of_several_processes_go_is_said(bench):
    row = bench.Row("a", "images/s", 3.0, "b", 2.0, 1.5, ">= 1.3", True, (1.25, 1.75))
    machine = {
        "versions": {}, "dirty": False, "time": "", "cpu": "", "cores": 1, "threads": 1, "commit": "", "seconds": 1,
        "command": "",
    }  # fmt: skip
    assert "| a | images/s | 3 | b | 2 | 1.5 (1.25 to 1.75) | >= 1.3 | yes |" in bench.table([row], machine, [])


def test_no_processes_at_all_are_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--processes", "0"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "--processes are at least 1" in capsys.readouterr().err


def test_a_folder_that_is_no_checkout_is_refused(bench, tmp_path):
    with pytest.raises(SystemExit, match="no checkout of k-diffusion"):
        bench.authors(tmp_path, compiled=False)


def test_what_a_step_holds_at_most_is_counted(bench):
    peak = import_module("step_against_authors").peak
    found = peak(lambda: torch.ones(1 << 20).add(1).add(1))
    assert 8 << 20 <= found < 9 << 20


def test_the_rows_of_an_evaluation_come_from_what_was_measured(bench, monkeypatch, small_inception):
    """Of small pictures and few features."""
    evaluation = import_module("evaluation")
    monkeypatch.setattr(bench, "pictures", lambda count, side: evaluation.pictures(4, 32))
    monkeypatch.setattr(evaluation, "statistics_of", lambda rows: statistics_of(rows[:, :16]))
    monkeypatch.setattr(evaluation, "WIDTH", 16)
    monkeypatch.setattr(evaluation, "BATCHES", (4, evaluation.DEFAULT_BATCH))
    rows = bench.measurement()
    names = [row.peer_name for row in rows]
    assert names[0::2] == ["torch-fidelity, default batch, 64"] * 2 + ["scipy.linalg.sqrtm"]
    best = names[1]
    assert names[1::2] == [best, best]
    assert best in [f"torch-fidelity, best batch, {batch}" for batch in evaluation.BATCHES]
    assert rows[1].peer == max(row.peer for row in rows[:4])
    for row in rows[:4]:
        assert row.better == pytest.approx(row.ours / row.peer)
    assert rows[4].better == pytest.approx(rows[4].peer / rows[4].ours)
    assert all(row.met == (row.better >= float(row.target.removeprefix(">= "))) for row in rows if row.target)


class Here:
    """A side in this process, which patches reach."""

    def __init__(self, make, *given):
        self.side = make(*given)

    def later(self, method, *given):
        answer = Future()
        answer.set_result(self.ask(method, *given))
        return answer

    def ask(self, method, *given):
        return getattr(self.side, method)(*given)

    def end(self):
        pass


def test_the_rows_of_a_step_come_from_what_was_measured(bench, monkeypatch, tmp_path):
    """Against ourselves, since their code is not here; nothing is compiled."""
    step = import_module("step_against_authors")
    shape = {"resolution": 32, "widths": [64, 64], "depths": [1, 1], "heads": [1, 1]}
    monkeypatch.setattr(step, "SHAPE", {**step.SHAPE, **shape})
    monkeypatch.setattr(step.torch, "compile", lambda network, **how: network)
    monkeypatch.setattr(step, "Theirs", lambda code, run, weights: step.Ours(run))
    monkeypatch.setattr(step, "to_k_diffusion", dict)
    for module in (bench, step):
        monkeypatch.setattr(module, "authors", lambda checkout, compiled: object())
    monkeypatch.setattr(step, "OwnProcess", Here)
    monkeypatch.setattr(bench, "measure", lambda at, kind, batch, turns, **how: step.measure(at, kind, 2, 1, **how))
    monkeypatch.setattr(step, "keep_freed_memory", lambda: True)
    rows = {row.what: row for row in bench.steps(tmp_path, 2)}
    for kind in step.KINDS:
        assert f"sampling, {kind}, float32" in rows
        for case in (
            f"{kind}, float32",
            f"{kind}, bfloat16",
            f"{kind}, float32, compiled",
            f"{kind}, bfloat16, compiled",
        ):
            speed, memory = rows[f"training step, {case}"], rows[f"peak memory of a step, {case}"]
            assert (speed.better, speed.target) == (speed.ours / speed.peer, ">= 1.3")
            assert memory.better == memory.peer / memory.ours
            assert 0 < speed.span[0] <= speed.span[1]
    assert all(row.span is None for row in bench.steps(tmp_path, 1))
    for row in rows.values():
        assert row.met is None or row.met == (row.better >= float(row.target.removeprefix(">= ")))


def test_the_rows_of_commands_say_seconds(bench, monkeypatch):
    monkeypatch.setattr(bench, "STARTS", (("list",),))
    monkeypatch.setattr(bench, "RECORDS", (2,))
    rows = bench.commands()
    assert [row.what for row in rows] == [
        "hdit-repro list", "hdit-repro plan, 2 records", "hdit-repro render-tables, 2 records",
    ]  # fmt: skip
    assert all(row.ours > 0 for row in rows)


def test_a_folder_of_this_machine_is_not_in_the_command(bench):
    assert bench.without_paths(["--authors", "/home/me/kd", "--threads", "2"]) == [
        "--authors", "PATH", "--threads", "2",
    ]  # fmt: skip
