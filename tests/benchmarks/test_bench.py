"""The table of speed: its parts run, small, and what is missing is said."""

import json
import subprocess
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
    against, slope = bench.attention(bench.Given())
    assert (against.better, against.met) == (5.0, True)
    assert (slope.ours, slope.met, slope.peer) == (pytest.approx(1.0), True, pytest.approx(2.0))


def test_a_missing_peer_is_said_and_what_is_measured_is_written(bench, monkeypatch, tmp_path, capsys):
    row = bench.Row("a", "s", 2.0, "b", 3.0, 1.5, ">= 2", False)
    monkeypatch.setattr(bench, "PARTS", {"attention": lambda *_: [row], "steps": bench.steps})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--write", str(tmp_path), "--threads", str(torch.get_num_threads())])
    bench.main()
    printed = capsys.readouterr().out
    assert "| a | s | 2 | b | 3 | 1.5 | >= 2 | no |" in printed
    assert "Not measured: the authors' code" in printed
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


def test_a_folder_without_their_code_is_refused_before_anything_is_measured(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PARTS", {"attention": lambda *_: pytest.fail("was measured")})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--authors", str(tmp_path)])
    with pytest.raises(SystemExit, match="no checkout of k-diffusion"):
        bench.main()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_no_time_at_all_is_refused(bench, monkeypatch, capsys, minutes):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--minutes", minutes])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "--minutes is above 0" in capsys.readouterr().err


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
    rows = bench.measurement(bench.Given())
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
    without = bench.measurement(bench.Given(precisions=("float32",)))
    assert [row.what for row in without] == [row.what for row in rows if "bfloat16" not in row.what]


@pytest.mark.parametrize("able", [False, True])
def test_a_processor_without_instructions_for_bfloat16_is_not_measured_in_it(bench, monkeypatch, capsys, able):
    given = []
    monkeypatch.setattr(bench, "computes_bfloat16", lambda: able)
    monkeypatch.setattr(bench, "PARTS", {"steps": lambda each: given.append(each.precisions) or []})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--threads", str(torch.get_num_threads())])
    bench.main()
    assert given == [bench.PRECISIONS if able else ("float32",)]
    assert ("Not measured: bfloat16" in capsys.readouterr().out) == (not able)


def test_a_case_that_would_not_end_in_time_is_left_out_and_named(bench, monkeypatch, tmp_path):
    """By a clock that a case takes 100 seconds of."""
    now, asked = [0.0], []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    for name in ("step_row", "memory_row"):
        monkeypatch.setattr(bench, name, lambda case, *_, **how: case)

    def measure(at, kind, *_, precision, **how):
        now[0] += 100
        asked.append((kind, precision))
        return {f"{side} sampled images/s": 1.0 for side in ("ours", "theirs")}

    monkeypatch.setattr(bench, "measure", measure)
    given = bench.Given(tmp_path, until=250.0)
    bench.steps(given)
    assert asked == [("shifted-window", "float32"), ("global", "float32")]
    assert [line.split(":")[0] for line in given.absent] == [
        "a training step, shifted-window, bfloat16", "a training step, global, bfloat16",
    ]  # fmt: skip
    late = bench.Given(tmp_path, until=150.0)
    bench.steps(late)
    assert len(late.absent) == 4


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
    """Against ourselves, since their code is not here; nothing is compiled, and no profiler counts bytes."""
    step = import_module("step_against_authors")
    shape = {"resolution": 32, "widths": [64, 64], "depths": [1, 1], "heads": [1, 1]}
    monkeypatch.setattr(step, "SHAPE", {**step.SHAPE, **shape})
    monkeypatch.setattr(step.torch, "compile", lambda network, **how: network)
    monkeypatch.setattr(step, "Theirs", lambda code, run, weights: step.Ours(run))
    monkeypatch.setattr(step, "to_k_diffusion", dict)
    for module in (bench, step):
        monkeypatch.setattr(module, "authors", lambda checkout, compiled: object())
    monkeypatch.setattr(step, "OwnProcess", Here)
    monkeypatch.setattr(step, "peak", lambda call: int(1e6 * (1 + call())))
    monkeypatch.setattr(bench, "measure", lambda at, kind, batch, turns, **how: step.measure(at, kind, 2, 1, **how))
    monkeypatch.setattr(step, "keep_freed_memory", lambda: True)
    rows = {row.what: row for row in bench.steps(bench.Given(tmp_path, 2))}
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
    found = dict.fromkeys(("ours train images/s", "theirs train images/s"), 1.0)
    assert bench.step_row("", found, *bench.PAIRS[0], several=False).span is None
    for row in rows.values():
        assert row.met is None or row.met == (row.better >= float(row.target.removeprefix(">= ")))


def test_the_rows_of_commands_say_seconds(bench, monkeypatch):
    monkeypatch.setattr(bench, "STARTS", (("list",),))
    monkeypatch.setattr(bench, "RECORDS", (2, 5))
    asked = iter(range(1, 100))
    monkeypatch.setattr(bench, "seconds", lambda *_: (float(next(asked)), 0.0))  # 1 to 3, then 4 to 6
    theirs = iter((2.0, 8.0))
    monkeypatch.setattr(bench, "pandas_seconds", lambda _: next(theirs))
    rows = bench.commands(bench.Given())
    pandas = "pandas: reading, grouping"
    assert [(row.what, row.peer_name) for row in rows] == [
        ("hdit-repro list", "pip --version"),
        ("hdit-repro plan, 2 records", "itself, without records"),
        ("hdit-repro render-tables, 2 records", pandas),
        ("hdit-repro plan, 5 records", "itself, without records"),
        ("hdit-repro render-tables, 5 records", pandas),
        ("hdit-repro render-tables, what 3 more records take", pandas),
    ]
    assert [row.ours for row in rows[1:]] == [1, 3, 4, 6, 3]
    assert [row.peer for row in rows[1:]] == [2, 2, 5, 8, 6]
    assert all(row.better == row.peer / row.ours > 0 for row in rows)


def test_what_more_records_take_leaves_starts_out(bench):
    few, many = (bench.Row("", "s", ours, bench.PANDAS, peer) for ours, peer in ((6.0, 2.0), (8.0, 5.0)))
    row = bench.growth(few, many, 9_000)
    assert row.what == "hdit-repro render-tables, what 9,000 more records take"
    assert (row.ours, row.peer, row.better, row.met) == (2, 3, 1.5, True)


def test_pandas_reads_the_same_records(bench, tmp_path):
    """The peer of rendering: a row's mean is that of its records."""
    records = import_module("records")
    records.fill(tmp_path, "paper", 3)
    assert records.pandas_seconds(tmp_path) > 0
    done = subprocess.run(
        [sys.executable, "-c", records.PANDAS, str(tmp_path / "results")], capture_output=True, text=True, check=True
    )
    found = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.json")]
    for name in {record["names"][0] for record in found}:
        values = [record["metrics"]["fid"]["value"] for record in found if record["names"][0] == name]
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        assert float(line.split()[1]) == pytest.approx(sum(values) / len(values))


def test_a_folder_of_this_machine_is_not_in_the_command(bench):
    assert bench.without_paths(["--authors", "/home/me/kd", "--threads", "2"]) == [
        "--authors", "PATH", "--threads", "2",
    ]  # fmt: skip
