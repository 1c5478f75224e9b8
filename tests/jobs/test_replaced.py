"""What a scale leaves of a row of one's own, and that it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.jobs.replaced import NOTHING, Replaced, replaced

MINE = """
experiment = "mine"
[row.w]
extends = "table1/R4"
model = { widths = [1536], heads = [24] }
training = { steps = 100, optimizer = { learning_rate = 0.5 } }
[row.again]
extends = "w"
label = "again"
[row.part]
extends = "table1/E"
training = { steps = 100 }
sampling = { guidance = 2.0 }
[row.same]
extends = "table1/E"
training = { steps = 400 }
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.toml").write_text(MINE)
    return tmp_path


def test_a_row_of_which_nothing_is_left_is_another_rows_run() -> None:
    fields = ("model.widths", "model.heads", "training.steps", "training.optimizer.learning_rate")
    assert replaced(jobs.find("mine/w", "smoke")) == Replaced(fields, "table1/R4")
    assert replaced(jobs.find("mine/again", "mini")) == Replaced(fields, "table1/R4")


def test_a_chain_of_extends_may_be_long(mine: Path) -> None:
    rows = "".join(f'[row.r{i}]\nextends = "r{i - 1}"\n' for i in range(1, 1_500))
    (mine / "jobs" / "long.toml").write_text(f'[row.r0]\nextends = "mine/w"\n{rows}')
    assert replaced(jobs.find("long/r1499", "smoke")) == replaced(jobs.find("mine/w", "smoke"))


def test_what_is_left_is_no_other_rows_run() -> None:
    assert replaced(jobs.find("mine/part", "smoke")) == Replaced(("training.steps",), "")


def test_nothing_is_said_where_nothing_is_replaced() -> None:
    for job in (jobs.find("mine/w"), jobs.find("mine/same", "smoke"), *jobs.load("table1", "smoke")):
        assert replaced(job) == NOTHING


def test_a_rows_own_letters_stand_in_the_section_that_keeps_it(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[row."\u03b3=4"]\nextends = "table1/E"\ntraining = { steps = 100 }\n'
    (mine / "jobs" / "greek.toml").write_text(text, encoding="utf-8")
    assert main(["show", "greek/\u03b3=4", "--scale", "smoke"]) == 0
    assert '[smoke.row."greek/\u03b3=4"]' in capsys.readouterr().err


def test_a_section_for_the_row_keeps_it(mine: Path) -> None:
    (mine / "jobs" / "scales.toml").write_text('[smoke.row."mine/part"]\ntraining = { steps = 100 }\n')
    assert replaced(jobs.find("mine/part", "smoke")) == NOTHING


@pytest.mark.parametrize("line", ["show mine/w", "plan mine/w", "submit mine/w --dry-run"])
def test_commands_say_it(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line.split(), "--scale", "smoke"]) == 0
    said = capsys.readouterr().err
    assert "nothing of mine/w is left, and this is the run of table1/R4" in said
    assert '[smoke.row."mine/w"]' in said
