"""What commands print fits the terminal, and is whole in a pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.cli import catalog, output, power
from hdit_repro.cli.app import main
from hdit_repro.cli.output import fitted, hanging, told, width, without, wrapped
from hdit_repro.errors import UserError
from hdit_repro.files import write_text


@given(st.lists(st.text("abc-/", min_size=1, max_size=12), min_size=1, max_size=30), st.integers(14, 60))
def test_wrapping_loses_no_word_and_fits(words: list[str], columns: int) -> None:
    lines = wrapped(" ".join(words), columns)
    assert " ".join(lines).split() == words
    assert all(len(line) <= columns for line in lines)


def test_a_pipe_is_never_wrapped() -> None:
    assert wrapped("a " * 200, 0) == ["a " * 200]
    assert width(io.StringIO()) == 0


def test_lines_of_an_error_stay_and_other_control_characters_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("it\x07", found="a\x1b[2J\nb", expected="c", fix="d")
    assert told(error, 0) == "error: it\\x07\n  found     a\\x1b[2J\n            b\n  expected  c\n  fix       d"
    output.left_out([error])
    output.remark("a\tb\r\nc\x7f\x85é")
    assert capsys.readouterr().err.endswith(
        "left out: it\\x07\n  found     a\\x1b[2J\n            b\n"
        "  expected  c\n  fix       d\na\\tb\\r\\nc\\x7f\\x85é\n"
    )


def test_spare_columns_go_one_by_one() -> None:
    headers, rows = ("aa", "bb", "cc"), [("1111", "22", "3")]
    assert without(headers, rows, ("bb", "cc"), 12) == (["aa", "bb", "cc"], [["1111", "22", "3"]])
    assert without(headers, rows, ("bb", "cc"), 11) == (["aa", "cc"], [["1111", "3"]])
    assert without(headers, rows, ("bb", "cc"), 7) == (["aa"], [["1111"]])
    assert without(headers, rows, ("bb", "cc"), 1) == (["aa"], [["1111"]])


def test_a_table_that_is_too_wide_becomes_blocks() -> None:
    headers, rows = ("metric", "one", "other"), [("fid", "12.5", "a b c d e f"), ("kid", "1", "2")]
    assert fitted(headers, rows, 0) == fitted(headers, rows, 80)
    assert fitted(headers, rows, 80)[0] == "metric  one   other"
    assert fitted(headers, rows, 16) == [
        "fid", "  one: 12.5", "  other: a b c d", "    e f", "kid", "  one: 1", "  other: 2",
    ]  # fmt: skip


def test_a_last_column_that_is_too_long_takes_several_lines() -> None:
    headers, rows = ("field", "why"), [("kernel", "a few words that are too many for one"), ("width", "4")]
    assert fitted(headers, rows, 32) == [
        "field   why",
        "kernel  a few words that are too",
        "        many for one",
        "width   4",
    ]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(power, "width", lambda stream: int(stream is sys.stdout) * 80)
    return monkeypatch


def test_power_fits_80_columns(
    on_terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    on_terminal.chdir(tmp_path)
    assert main(["power"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[0] == "pair"
    assert "table1/A / B2" in shown.out
    assert "left out, since the terminal is narrow: why, beyond noise from; --json has all" in shown.err


def test_power_is_whole_in_a_pipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["power", "table1", "--seeds", "2"]) == 0
    shown = capsys.readouterr()
    assert all(name in shown.out.splitlines()[0] for name in power.HEADERS)
    assert "table1/A / table1/B2" in shown.out
    assert "left out" not in shown.err
    assert "2 trainings a side" in shown.err


@pytest.mark.parametrize(("cluster", "card"), [("h100", "H100"), ("a100", "A100"), ("local", "A100")])
def test_power_says_of_which_card_its_hours_are(command: Callable[[str], Any], cluster: str, card: str) -> None:
    """This machine, too, is priced in hours of the yardstick."""
    said = command(f"power table2 --cluster {cluster}")
    assert f"GPU-hours are {card}-hours of 1 training a side" in said.err


def test_a_text_hangs_behind_its_name() -> None:
    assert hanging("name ", "one two three four", 0) == ["name one two three four"]
    assert hanging("name ", "one two three four", 21) == ["name one two three", "     four"]
    assert hanging("name ", "one two three four", 20) == ["name one two three four"]


def test_numbers_stand_right_in_a_table_that_is_fitted_too() -> None:
    headers, rows = ("n", "why"), [("1,000", "a few words that are too many for one"), ("7", "4")]
    assert fitted(headers, rows, 24, right=("n",)) == [
        "    n  why",
        "1,000  a few words that",
        "       are too many for",
        "       one",
        "    7  4",
    ]


def test_a_long_word_of_the_last_column_is_not_broken_but_put_in_a_block() -> None:
    headers, rows = ("name", "at"), [("one", "https://a.b/a-long-address"), ("two", "")]
    assert fitted(headers, rows, 24) == ["one", "  at:", "    https://a.b/a-long-address", "two"]


def test_an_error_breaks_between_words_and_its_command_not_at_all() -> None:
    error = UserError(
        "a problem of more words than a line has", found="many words that\nare two lines as they are",
        expected="few", fix="hdit-repro a command that is copied whole",
    )  # fmt: skip
    assert told(error, 0) == f"error: {error}"
    assert told(error, 30).splitlines() == [
        "error: a problem of more words",
        "  than a line has",
        "  found     many words that",
        "            are two lines as",
        "            they are",
        "  expected  few",
        "  fix       hdit-repro a command that is copied whole",
    ]


@pytest.mark.parametrize(
    "fix",
    [
        "look at it with `sinfo` first, then wait",
        "name another one with --run, or wait a little",
        "tar -xf the file, which takes some minutes",
        "export FOLDER=somewhere, and wait a little",
        "put it into jobs/mine.toml, and wait a little",
    ],
)
def test_what_is_copied_stays_in_one_line_and_prose_does_not(fix: str) -> None:
    assert told(UserError("no", fix=fix), 30).splitlines()[1:] == [f"  fix       {fix}"]
    assert output.advice("fix: ", fix, 20) == [f"fix: {fix}"]
    prose = "mend the line that is named, then run it again"
    assert told(UserError("no", fix=prose), 30).splitlines()[1:] == [
        "  fix       mend the line that",
        "            is named, then run",
        "            it again",
    ]


def test_what_an_error_within_another_advises_stays_in_one_line() -> None:
    found = str(UserError("it broke", found="many words that are two lines", fix="hdit-repro a command that is copied"))
    assert told(UserError("no", found=found), 40).splitlines()[2:] == [
        "            found     many words that",
        "            are two lines",
        "            fix       hdit-repro a command that is copied",
    ]


def test_what_is_left_out_fits_its_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hdit_repro.cli.output.width", lambda stream: 30)
    output.left_out([UserError("no such field here", expected="one of these, or those, or none")])
    assert capsys.readouterr().err.splitlines() == [
        "left out: no such field here",
        "  expected  one of these, or",
        "            those, or none",
    ]


def test_an_error_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hdit_repro.cli.app.width", lambda stream: 40 * (stream is sys.stderr))
    assert main(["show", "tabel1/E"]) == 2
    lines = capsys.readouterr().err.splitlines()
    fitting = [line for line in lines if not line.startswith("  fix")]
    assert max(map(len, fitting)) <= 40
    assert len(fitting) > 4


def test_an_explanation_fits_its_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hdit_repro.cli.verify.width", lambda stream: 80)
    assert main(["verify", "--explain", "appendix-c/tau"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith(" " * 10)


WIDE = (
    "plan table1 --cluster a100",
    "plan guidance --cluster h100",
    "plan alternatives --scale smoke",
    "reference list",
    "cost",
    "cost table1/E",
    "power table1",
)


@pytest.mark.parametrize("line", WIDE)
@pytest.mark.parametrize("columns", [60, 80])
def test_every_table_fits_its_terminal(
    line: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "cache" / "references" / f"emoji-16-efficientnet-lite0-{'0' * 24}.safetensors"
    write_text(damaged, "damaged")
    for module in (output, power):
        monkeypatch.setattr(module, "width", lambda stream: int(stream is sys.stdout) * columns)
    assert main(line.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shown for shown in lines if len(shown) > columns and shown.strip() not in str(damaged)] == []


def test_a_narrow_terminal_is_told_what_it_does_not_show_but_not_of_what_is_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("table1/E", "", "1", "2"), ("table1/D", "", "3", "4")]
    monkeypatch.setattr(output, "width", lambda stream: int(stream is sys.stdout) * 16)
    output.table(("run", "also", "first", "second"), rows, spare=("first",))
    shown, said = capsys.readouterr()
    assert shown.splitlines() == ["run       second", "table1/E  2", "table1/D  4"]
    assert said == "left out, since the terminal is narrow: first; --json has all\n"
    output.table(("run", "also", "first", "second"), rows)
    shown, said = capsys.readouterr()
    assert shown.splitlines()[:3] == ["table1/E", "  first: 1", "  second: 2"]
    assert said == ""


def test_a_table_in_a_pipe_keeps_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("run", "also", "first"), [("table1/E", "", "1")], spare=("first",))
    assert capsys.readouterr().out.splitlines() == ["run       also  first", "table1/E        1"]


@pytest.mark.parametrize("line", ["list", "show table1/E"])
@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_breaks_lines_between_words(
    line: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 0
    whole = capsys.readouterr().out
    for module in (catalog, output):
        monkeypatch.setattr(module, "width", lambda stream: int(stream is sys.stdout) * columns)
    assert main(line.split()) == 0
    shown, said = capsys.readouterr()
    assert max(map(len, shown.splitlines())) <= columns < max(map(len, whole.splitlines()))
    if line == "list":
        gone = "pixels, parameters" if columns == 80 else "pixels, parameters, MACs"
        assert f"left out, since the terminal is narrow: {gone}; --json has all" in said
        return
    words = {form for word in shown.split() for form in (word, word.rstrip(":"))}
    assert set(whole.split()) - words <= {"field"}  # the head of the first column is left out above blocks


def test_a_label_in_two_lines_is_a_line_of_the_list(command: Callable[[str], Any], tmp_path: Path) -> None:
    write_text(
        tmp_path / "jobs" / "mine.toml", 'experiment = "mine"\n[row.x]\nextends = "table1/E"\nlabel = "one\\ntwo"\n'
    )
    assert any(line.endswith("  one two") for line in command("list").out.splitlines())
    assert "\nlabel          one two\n" in command("show mine").out


def test_letters_that_the_output_does_not_have_are_escaped(tmp_path: Path) -> None:
    def said(line: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hdit_repro.cli", *line.split()], capture_output=True, cwd=tmp_path, check=True,
            env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        )  # fmt: skip
        return done.stdout.decode("latin-1")

    assert "told log \\u03c3 spread" in said("list")
    assert any("log \u03c3 spread" in row["label"] for row in json.loads(said("list --json")))


def test_a_name_that_python_may_not_use_is_no_traceback(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    with open(os.fsencode(jobs) + "/größe.toml".encode(), "w") as file:
        file.write('[row.a]\nextends = "table1/E"\n')
    line = [sys.executable, "-m", "hdit_repro.cli", "render-tables", "größe".encode(), "--scale", "smoke"]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(Path(output.__file__).parents[2])}
    done = subprocess.run(line, capture_output=True, cwd=tmp_path, env=plain, encoding="utf-8", check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "export PYTHONUTF8=1" in done.stderr
