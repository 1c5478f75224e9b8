"""The table of speed: its parts run, small, and what is missing is said."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("bench")


def test_both_sides_of_attention_give_the_same(bench):
    q = torch.randn(1, 16, 16, 2, 8)
    torch.testing.assert_close(bench.Neighborhood(bench.KERNEL)(q, q, q), bench.dense(16)(q, q, q))


def test_attention_rows_hold_their_targets_against_what_was_measured(bench, monkeypatch):
    monkeypatch.setattr(bench, "SIDES", (8, 16))
    monkeypatch.setattr(bench, "both_ways", lambda attend, side: side)
    times = iter([[2.0, 10.0], [1.0, 4.0]])
    monkeypatch.setattr(bench, "best", lambda calls, rounds: next(times))
    against, slope = bench.attention()
    assert (against.better, against.met) == (5.0, True)
    assert (slope.ours, slope.met) == (pytest.approx(1.0), True)


def test_a_missing_peer_is_said_and_what_is_measured_is_written(bench, monkeypatch, tmp_path, capsys):
    row = bench.Row("a", "s", 2.0, "b", 3.0, 1.5, ">= 2", False)
    monkeypatch.setattr(bench, "PARTS", {"attention": lambda _: [row], "steps": bench.steps})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--write", str(tmp_path), "--threads", str(torch.get_num_threads())])
    bench.main()
    printed = capsys.readouterr().out
    assert "| a | s | 2 | b | 3 | 1.5 | >= 2 | no |" in printed
    assert "Not at hand: the authors' code" in printed
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["rows"] == [row._asdict()]
    assert {"cpu", "cores", "commit", "versions", "command"} <= found["machine"].keys()
    assert (tmp_path / "bench.md").read_text() == printed


def test_a_folder_that_is_no_checkout_is_refused(bench, tmp_path):
    with pytest.raises(SystemExit, match="no checkout of k-diffusion"):
        bench.authors(tmp_path, compiled=False)


def test_what_a_step_holds_at_most_is_counted(bench):
    peak = import_module("step_against_authors").peak
    found = peak(lambda: torch.ones(1 << 20).add(1).add(1))
    assert 8 << 20 <= found < 9 << 20
