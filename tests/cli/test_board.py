"""The table of `status`: a line a row, a column a stage, notes below, and no more lines than there is room for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hdit_repro.cli.board import NOTES, board, lines_of
from hdit_repro.files import lock, write_json
from hdit_repro.launch.describe import describe
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import write_failure
from hdit_repro.launch.status import known_tasks, status_of
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.provenance import Source
from hdit_repro.records.schema import digest_of

MADE_UP = {"made": "up", "digest": digest_of({"made": "up"})}
"""A measurement that passes for a whole one."""


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "runs", tmp_path / "results")


def shown(roots: Roots, experiment: str = "table1", rows: list[str] | None = None, height: int = 0) -> list[str]:
    tasks = tasks_for(wanted(experiment, "smoke", rows), roots)
    return board(lines_of(tasks, status_of(tasks)), height)


def test_a_running_row_says_how_far_and_how_fast_it_is(roots: Roots) -> None:
    folder = RunFolder(roots, wanted("table1", "smoke", ["A"])[0].run, "smoke")
    now = time.time()
    progress = {"done": 30, "total": 120, "values": {"loss": 0.4125}, "time": now, "began": now - 60, "first": 0}
    write_json(folder.progress("train"), progress)
    with lock(folder.lock("train")):
        header, line, other = shown(roots, rows=["A", "E"])
    assert header.split() == ["run", "train", "sample", "evaluate", "loss", "images/s", "left"]
    batch = folder.run.training.batch
    assert line.split() == ["table1/A", "25", "%", "-", "-", "0.4125", f"{batch / 2:.3g}", "3", "min"]
    assert other.split() == ["table1/E", "-", "-", "-"]


def test_a_stage_that_left_half_way_says_how_much_is_there(roots: Roots) -> None:
    """As `plan` does: one that was asked to leave and saved stood there as if it had not had its turn."""
    folder = RunFolder(roots, wanted("table1", "smoke", ["A"])[0].run, "smoke")
    quarter = folder.run.training.total_steps // 4
    write_json(folder.checkpoints / f"step-{quarter:08d}.json", {})
    (folder.checkpoints / f"step-{quarter:08d}.safetensors").touch()
    assert " 25 % there  -       -" in shown(roots, rows=["A"])[1]
    write_failure(folder.failure("train"), "the disk is full", "", "x")
    assert " failed, 25 % there  -       -" in shown(roots, rows=["A"])[1]
    tasks = tasks_for(wanted("table1", "smoke", ["A"]), roots)
    assert [row.as_row()["left"] for row in status_of(tasks)] == [0.75, 1.0, 1.0]
    queued = [row._replace(state="queued") for row in status_of(tasks)]
    assert " queued, 25 % there  queued  queued" in board(lines_of(tasks, queued))[1]
    write_json(folder.record, MADE_UP)
    assert shown(roots, rows=["A"])[1].split()[1:] == ["done", "done", "done"]


def test_failures_stand_below_and_are_said_once(roots: Roots) -> None:
    for row in ("A", "B1", "B2", "C", "D"):
        folder = RunFolder(roots, wanted("table1", "smoke", [row])[0].run, "smoke")
        write_failure(folder.failure("train"), "the disk is full", "", "x")
    text = shown(roots)
    assert text[-1] == "table1/A, table1/B1, table1/B2 and 2 more train failed: the disk is full"
    assert len(text) == 1 + 10 + 2
    assert text[5].split() == ["table1/A", "failed", "-", "-"]


def test_rows_that_share_a_stage_all_show_it(roots: Roots) -> None:
    folder = RunFolder(roots, wanted("guidance", "smoke", ["w1.0"])[0].run, "smoke")
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "step.safetensors").write_bytes(b"x")
    write_json(folder.final_marker, {"file": "step.safetensors", "run": folder.run.training_id})
    text = shown(roots, "guidance")
    assert len(text) == 1 + 9
    assert all(line.split()[1:] == ["done", "-", "-"] for line in text[1:])


def test_a_low_screen_shows_what_is_not_done(roots: Roots) -> None:
    for row in ("R1", "R2", "R3"):
        write_json(RunFolder(roots, wanted("table1", "smoke", [row])[0].run, "smoke").record, MADE_UP)
    text = shown(roots, height=9)
    assert len(text) <= 9
    assert [line.split()[0] for line in text[1:3]] == ["table1/R4", "table1/A"]
    assert text[-1].endswith("3 of 10 done")
    assert len(shown(roots, height=40)) == 11
    with lock(RunFolder(roots, wanted("table1", "smoke", ["E"])[0].run, "smoke").lock("train")):
        assert shown(roots, height=9)[1].split() == ["table1/E", "starts", "-", "-"]


def test_many_different_notes_are_cut_and_counted(roots: Roots) -> None:
    tasks = tasks_for(wanted("table1", "smoke", None, 4), roots)
    rows = [row._replace(state="failed", error=f"reason {place}") for place, row in enumerate(status_of(tasks))]
    text = board(lines_of(tasks, rows))
    assert len(text) == 1 + 40 + 1 + NOTES + 1
    assert text[-1] == f"... and {120 - NOTES} notes more: --json has all"


def test_a_narrow_terminal_has_the_table_without_what_is_spare(roots: Roots) -> None:
    tasks = tasks_for(wanted("table1", "smoke", ["A", "E"]), roots)
    train, *others = status_of(tasks)
    runs = {"state": "running", "done": 30, "total": 120, "images_per_second": 128.0, "seconds_left": 180.0}
    paid = {"values": {"loss": 0.4125}, "gpu_hours": 1.5, "planned_gpu_hours": 60.0}
    failed = others[-1]._replace(state="failed", error="a reason that takes more words than sixty columns hold\x1b[2J")
    lines = lines_of(tasks, [train._replace(**runs, **paid), *others[:-1], failed])
    whole = board(lines)
    assert whole[0].split() == ["run", "train", "sample", "evaluate", "loss", "images/s", "left", "GPU-hours"]
    assert board(lines, columns=len(whole[0]))[:3] == whole[:3]
    text = board(lines, columns=60)
    assert max(map(len, text)) <= 60
    assert text[0].split() == ["run", "train", "sample", "evaluate", "loss", "left", "GPU-hours"]
    assert text[3:] == [
        "left out, since the terminal is narrow: images/s; --json has",
        "  all",
        "",
        "table1/E evaluate failed: a reason that takes more words",
        "  than sixty columns hold\\x1b[2J",
    ]
    watched = board(lines, height=9, columns=50)
    assert watched[0].split() == ["run", "train", "sample", "evaluate", "loss", "left"]
    assert watched[3:] == [
        "left out, since the terminal is narrow: images/s, GPU-hours; --json has all", "", whole[-1],
    ]  # fmt: skip
    assert board(lines, columns=30)[:4] == ["table1/A", "  train: 25 %", "  sample: -", "  evaluate: -"]


def test_rows_come_in_the_order_of_their_file_and_seeds_within(roots: Roots) -> None:
    describe(wanted("table1", "smoke", ["E", "R1"], 2), roots, Source("abc", False))
    names = list(dict.fromkeys(task.name for task in known_tasks(roots)))
    assert names == ["table1/R1", "table1/R1 seed 1", "table1/E", "table1/E seed 1"]
