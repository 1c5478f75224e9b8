"""Commands: their help, their data, their exit codes."""

from __future__ import annotations

import errno
import os
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from hdit_repro import jobs
from hdit_repro.cli.app import COMMANDS, app
from hdit_repro.files import sha256_file

Command = Callable[..., Any]


def every_command() -> list[tuple[str, Any]]:
    group = typer.main.get_group(app)
    found = []
    for name in COMMANDS:
        command = group.get_command(None, name)
        found.append((name, command))
        found += [(f"{name} {inner}", child) for inner, child in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize(("name", "command"), every_command())
def test_help_is_a_sentence_and_an_example(name: str, command: Any) -> None:
    sentence, *rest = [part for part in (command.help or "").split("\n\n") if part.strip()]
    assert sentence.strip().endswith(".")
    assert sentence.count(". ") == 0
    assert len(rest) == 1
    assert rest[0].strip().startswith(f"Example: hdit-repro {name.split()[0]}")
    options = [param for param in command.params if param.name != "help"]
    assert all(param.help for param in options)


@pytest.mark.parametrize("name", [name for name, _ in every_command()])
def test_help_can_be_asked_for(name: str, command: Command) -> None:
    said = command(f"{name} --help")
    assert said.code == 0
    assert "Example: hdit-repro" in said.out
    assert max(map(len, said.out.splitlines())) <= 120


def test_examples_of_data_commands_run(command: Command) -> None:
    for _, declared in every_command():
        line = declared.help.split("Example: hdit-repro ")[1].strip()
        if line.split()[0] in ("list", "show", "cost", "plan"):
            assert command(line).code == 0


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "--bogus",
        "data --bogus",
        "data prepre",
        "list --bogus",
        "show table1/E extra",
        "show --scal smoke table1/E",
        "compare table1/E",
        "cost table1/E --resolution",
        "doctor --for table9",
        "doctor --scale huge",
        "show",
        "show table1",
        "show table1/Z",
        "show table1/E --scale huge",
        "cost table1/E --resolution 100",
        "cost table1/E --resolution 0",
        "cost table1/E --resolution -128",
        "cost table1/E --resolution many",
        "cost --resolution 24",
        "plan table9",
        "plan table1 --cluster abacus",
        "plan table1 --rows A,Q",
        "plan table1 --seeds 0",
        "plan table1/E --rows A",
        "plan table1 --rows ,",
        "submit table1",
        "submit table1 --dry-run",
        "submit table1 --scale smoke --wait --stop-after nan",
        "submit table1 --cluster a100",
        "submit table1 --scale smoke --cluster h100 --wait",
        "status table9",
        "status table1/ZZ",
        "render-tables --tables ,",
        "status --watch --json",
        "logs table1/E",
        "logs table1/Q",
        "logs table1/E --scale huge",
        "cancel table1 --scale huge",
        "train",
        "train --run table1/Q --scale smoke",
        "train --run table1/E --scale smoke --threads -1",
        "train --run table1/E --scale smoke --threads 100000",
        "train --run table1/E --scale smoke --save-seconds nan",
        "train --run table1/E --scale smoke --time-limit nan",
        "power --cv nan",
        "power --cv inf",
        "power --cv 1e308",
        "power table4",
        "train --run table1/E --scale smoke --microbatch -1",
        f"train --run table1/E --scale smoke --microbatch {2**63}",
        "train --run table1/E --scale smoke --ema-decay 1.5",
        "train --run table1/E --scale smoke --distributed sometimes",
        "eval --run table1/E --scale smoke --metrics kernel",
        "sample --run table1/E",
        "eval --run table1/E",
        "eval --run table1/E --scale smoke --protocol= --metrics kernel",
        "weights add",
        "weights add nowhere.pth",
        "reference add nowhere.npz",
        "render-tables --scale huge",
    ],
)
def test_wrong_requests_exit_with_two_and_write_nothing(line: str, command: Command, tmp_path: Path) -> None:
    said = command(line)
    assert said.code == 2
    assert said.out == ""
    problem, *lines = said.err.splitlines()
    assert problem.startswith("error: ")
    assert [line.split()[0] for line in lines if line[2:3].strip()] == ["found", "expected", "fix"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("shwo table1/E", "did you mean 'show'?"),
        ("data prepre", "did you mean 'prepare'?"),
        ("show table1/E --scal smoke", "did you mean '--scale'?"),
        ("show", "hdit-repro show table1/E"),
        ("cost table1/E --resolution many", "hdit-repro cost table1/E --resolution 256"),
        ("submit table1 --scale", "--scale VALUE"),
        ("eval --run table1/E --scale smoke --metrics fid", "did you mean 'frechet'?"),
        ("reference add nowhere.npz", "check the path; relative ones are taken from the current folder"),
        ("submit table1 --scale smoke --stop-after 5", "add --wait"),
    ],
)
def test_a_line_that_cannot_be_is_told_what_is_near(line: str, offered: str, command: Command) -> None:
    said = command(line)
    assert said.code == 2
    assert said.err.splitlines()[-1].split(None, 1) == ["fix", offered]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cost table1/E --resolution 1.5", "'1.5' is no whole number"),
        ("train --run table1/E --microbatch x", "'x' is no whole number"),
        ("train --run table1/E --time-limit soon", "'soon' is no number"),
        ("power --cv much", "'much' is no number"),
        ("train --run table1/E --ema-decay 2", "ema_decays lie in [0, 1), such as 0.999, and 2 does not"),
        ("weights add", "neither PATH nor --url"),
        ("weights add a.pth --url http://localhost", "a.pth and --url http://localhost"),
    ],
)
def test_what_was_found_is_said_in_words(line: str, found: str, command: Command) -> None:
    assert command(line).err.splitlines()[1].split(None, 1) == ["found", found]


def test_a_group_without_a_command_shows_its_help(command: Command) -> None:
    for line in ("", "data", "weights"):
        said = command(line)
        assert said.code == 2
        assert "Example: hdit-repro" in said.err + said.out


def test_no_sentence_of_the_help_is_cut(command: Command) -> None:
    for line in ("--help", "data --help", "results --help"):
        assert "..." not in command(line).out.replace("[ARGS]...", "")


def test_a_place_that_the_system_refuses_is_no_traceback(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = command("render-tables --scale smoke --tables table1 --out file/inside")
    assert said.code == 1
    assert "file/inside" in said.err
    assert "file/inside: file is a file, where a folder is wanted" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("line", ["list", "show table1/E", "fid a b", "status", "weights list", "doctor"])
def test_a_folder_that_is_gone_is_told(line: str, command: Command, tmp_path: Path) -> None:
    """Before anything that reads it: some libraries end the process without a word that helps."""
    place = tmp_path / "gone"
    place.mkdir()
    os.chdir(place)
    place.rmdir()
    said = command(line)
    assert said.code == 2
    assert "is gone" in said.err
    assert "cd to another folder" in said.err
    assert "Traceback" not in said.err
    assert command("--version").code == 0
    os.chdir(tmp_path)
    assert command("list").code == 0


def test_a_warning_is_a_line_without_code(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning() -> tuple[list[str], list[str]]:
        print(warnings.formatwarning("a file is passed over", UserWarning, "x.py", 7), end="", file=sys.stderr)
        return [], []

    monkeypatch.setattr(jobs, "survey", warning)
    assert command("list").err.startswith("warning: a file is passed over\n")


def test_ctrl_c_says_what_to_do_next(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "survey", interrupted)
    said = command("list")
    assert (said.code, said.out) == (130, "")
    assert "the same command goes on from there" in said.err


def test_a_user_error_names_found_expected_and_fix(command: Command) -> None:
    said = command("submit table1")
    for part in ("found", "expected", "fix", "A100-hours", "--scale smoke", "--cluster a100"):
        assert part in said.err


def test_an_unexpected_error_is_a_traceback_and_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(jobs, "survey", broken)
    said = command("list")
    assert said.code == 1
    assert "ZeroDivisionError: a bug" in said.err


def test_weights_and_references_are_listed_and_damaged_ones_refused(command: Command, tmp_path: Path) -> None:
    listed = command("weights list --json").json
    assert {"inception-2015"} <= {row["name"] for row in listed}
    assert not any(row["present"] for row in listed)
    assert "missing" in command("weights list").out
    assert command("reference list --json").json == []
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    said = command("weights add", wrong)
    assert said.code == 2
    assert sha256_file(wrong) in said.err
    assert not any(row["present"] for row in command("weights list --json").json)


def test_version(command: Command) -> None:
    from hdit_repro import __version__

    assert command("--version").out.strip() == f"hdit-repro {__version__}"


@pytest.mark.parametrize(("number", "code", "told"), [(errno.ENOSPC, 1, "No space left"), (errno.EPIPE, 141, "")])
def test_an_output_that_takes_no_more_is_no_traceback(
    number: int, code: int, told: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full device is told; that a reader went before the end is neither told nor the failure of a check."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("hdit_repro.cli.output.data", refuse)
    before = sys.stdout, sys.stderr
    try:
        said = command("list")
    finally:
        sys.stdout, sys.stderr = before
    assert said.code == code
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_folder_that_a_full_disk_refuses_asks_for_space(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs")

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = command("report --scale smoke")
    assert said.code == 1
    assert "runs: No space left on device" in said.err
    assert "free some space" in said.err
    assert "permissions" not in said.err


def test_a_limit_on_the_size_of_files_is_told_with_the_file(command: Command) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        said = command("render-tables --scale smoke --tables table2 --out made")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.code == 1
    assert "made/table2.md: File too large" in said.err
    assert "ulimit -f" in said.err


def test_a_folder_of_runs_that_is_a_link_to_nothing_is_called_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    said = command("report --scale smoke")
    assert said.code == 1
    assert f"runs: a link to {tmp_path / 'unmounted'}, where nothing is" in said.err
    assert "delete the link" in said.err
