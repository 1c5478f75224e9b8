"""Commands: their help, their data, their exit codes."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from hdit_repro import cost, jobs
from hdit_repro.cli.app import COMMANDS, app
from hdit_repro.errors import RunError
from hdit_repro.files import sha256_file
from hdit_repro.launch import submit as submit_module
from hdit_repro.launch.describe import describe
from hdit_repro.launch.progress import Writer, write_failure
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.provenance import Source
from hdit_repro.spec.run import Run
from hdit_repro.stages.settings import Progress

Command = Callable[[str], Any]


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
        "train --run table1/E --scale smoke --microbatch -1",
        "train --run table1/E --scale smoke --distributed sometimes",
        "eval --run table1/E --scale smoke --metrics kernel",
        "sample --run table1/E",
        "eval --run table1/E",
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
    ],
)
def test_a_line_that_cannot_be_read_is_told_what_is_near(line: str, offered: str, command: Command) -> None:
    said = command(line)
    assert said.code == 2
    assert said.err.splitlines()[-1].split(None, 1) == ["fix", offered]


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
    assert "Not a directory" in said.err
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


def test_list_has_every_row(command: Command) -> None:
    rows = command("list --json").json
    assert [row["run"] for row in rows] == [job.name for job in jobs.all_jobs()]
    assert {"label", "parameters", "macs", "experiment"} <= rows[0].keys()
    said = command("list")
    assert "table1/E" in said.out
    assert "117M" in said.out
    assert len(said.out.splitlines()) == len(rows) + 1


@pytest.mark.parametrize("line", ["list", "list --json", "cost", "cost --json"])
def test_rows_that_cannot_be_are_left_out_with_the_reason(line: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    whole = command(line)
    rows = '[row.bad]\nextends = "table1/E"\nmodel = { depthz = [2, 11] }\n[row.good]\nextends = "table1/E"\n'
    (tmp_path / "jobs" / "mine.toml").write_text(f'experiment = "mine"\n{rows}')
    (tmp_path / "jobs" / "cut.toml").write_text("[row.x\n")
    said = command(line)
    assert (whole.code, said.code) == (0, 0)
    assert "left out" not in whole.err
    assert "mine/good" in said.out
    assert "mine/bad" not in said.out
    assert said.err.count("left out: ") == 2
    assert "did you mean 'depths'?" in said.err
    assert "cut.toml" in said.err


def test_show_gives_the_spec_and_the_source_of_each_value(command: Command) -> None:
    plain = command("show table1/E --json").json
    assert msgspec.convert(plain, Run) == jobs.find("table1/E").run
    said = command("show table1/E")
    lines = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert "Table 6" in lines["model.widths"]
    assert "[384, 768]" in lines["model.widths"]
    assert "fork: k_diffusion/config.py" in lines["model.mapping.d_ff"]
    assert "inferred: " in lines["sampling.guidance"]
    assert "[neighborhood(kernel = 7), global]" in lines["model.attention"]
    assert "117,003,805" in said.out
    assert jobs.find("table1/E").run.id in said.out
    assert "inferred" in said.err
    assert lines["sampling.sigma_max"].split(maxsplit=2)[1:] == [
        "160.0",
        "fork: configs/ablations/*.jsonc; Table 6's range is that of training",
    ]
    assert "are marked fork: the third author's configurations, github.com/Birch-san/k-diffusion" in " ".join(
        said.err.split()
    )
    assert "fork" not in command("show table1/R1").err
    assert command("show table1/E --scale smoke --json").json["data"]["resolution"] == 16


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_every_run_can_be_shown(scale: str, command: Command) -> None:
    for job in jobs.all_jobs():
        said = command(f"show {job.name} --scale {scale}")
        assert said.code == 0, said.err
        assert "training.batch" in said.out
    assert "(steps = 50000, batch = 512)" in command("show imagenet256").out


def test_show_says_what_is_to_be_met_at_what_price(command: Command) -> None:
    said = command("show table1/E").out
    assert "printed        27.74 (Table 1, E, FID); 27.74 (Table 5 of the second edition, E, FID)" in said
    assert "price          about 61 A100-hours or about 32 H100-hours" in said
    assert "command        hdit-repro submit table1/E --cluster a100" in said
    assert "5.23 (Table 3, " in command("show ffhq1024").out
    assert "\nprinted " not in command("show alternatives/A-dot").out
    assert "\nprice " not in command("show table1/E --scale smoke").out


def test_cost_json_has_the_agreed_shape(command: Command) -> None:
    rows = command("cost --json").json
    assert all(row.keys() == {"run", "resolution", "macs", "flops", "parameters", "parts"} for row in rows)
    table_1 = [(row["run"], row["resolution"]) for row in rows if row["run"].startswith("table1/")]
    assert sorted(table_1) == sorted(
        (f"table1/{row}", side) for row in jobs.read("table1").rows for side in (128, 256, 512)
    )
    assert len({(row["run"], row["resolution"]) for row in rows}) == len(rows)
    assert {row["run"] for row in rows} == {job.name for job in jobs.all_jobs()}
    for row in rows:
        assert row["flops"] == 2 * row["macs"]
        assert sum(part["macs"] for part in row["parts"].values()) == row["macs"]
        assert sum(part["parameters"] for part in row["parts"].values()) == row["parameters"]


def test_cost_of_one_row_follows_the_resolution(command: Command) -> None:
    (own,) = command("cost table1/E --json").json
    assert (own["resolution"], own["macs"], own["parameters"]) == (128, 31_369_003_008, 117_003_805)
    (larger,) = command("cost table1/E --resolution 256 --json").json
    assert round(larger["macs"] / 1e9) == 65
    run = jobs.find("table1/E").run
    assert larger["macs"] == cost.count(cost.at_resolution(run.model, 256), 256).macs
    said = command("cost table1/E")
    assert "31,369,003,008" in said.out
    assert "feed-forward" in said.out


def test_plan_json_has_the_agreed_shape(command: Command, tmp_path: Path) -> None:
    stages = command("plan table1 --json --cluster a100").json
    assert all({"run", "stage", "after", "gpus", "gpu_hours", "state", "basis"} <= stage.keys() for stage in stages)
    (train,) = [stage for stage in stages if stage["run"] == "table1/E" and stage["stage"] == "train"]
    assert train["gpu_hours"] == 60.0
    said = command("plan table1 --cluster a100")
    assert len(said.out.splitlines()) == len(stages) + 1
    assert "0 of 30 stages done" in said.err
    assert "60 A100-hours (Table 6)" in said.err
    header, *lines = said.out.splitlines()
    assert header.split() == ["run", "stage", "state", "GPUs", "GPU-hours", "time", "price", "disk", "memory", "also"]
    (line,) = [line for line in lines if line.startswith("table1/E ") and " train " in line]
    assert "60.00" in line
    assert "$120" in line, "at the profile's two dollars an hour"
    assert f"{train['disk'] / 1e9:.1f} GB" in line
    assert f"disk: about {sum(stage['disk'] for stage in stages) / 1e9:,.1f} GB" in said.err
    assert "price" not in command("plan table1/E").out
    assert list(tmp_path.iterdir()) == []


def test_a_plan_looks_into_the_folder_of_runs_that_the_cluster_names(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = (jobs.files.folders()[-1] / "clusters" / "a100.toml").read_text()
    (tmp_path / "jobs" / "clusters").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    mine = profile.replace('runs = ""', f'runs = "{elsewhere}"')
    assert mine != profile
    (tmp_path / "jobs" / "clusters" / "mine.toml").write_text(mine)
    job = jobs.find("table1/E")
    write_failure(
        RunFolder(Roots(elsewhere, tmp_path), job.run, "paper").failure("train"), "it broke", "Traceback", "x"
    )
    assert command("plan table1/E --cluster mine --json").json[0]["state"] == "failed"


def test_rows_and_the_cluster_of_the_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {stage["run"] for stage in command("plan table1 --rows A,E --json").json} == {
        "table1/A",
        "table1/E",
        "table1",
    }
    monkeypatch.setenv("HDIT_REPRO_CLUSTER", "h100")
    assert "H100-hours" in command("plan table1").err
    assert command("submit table1").code == 2


def test_status_and_logs_read_what_lies_there(command: Command, tmp_path: Path) -> None:
    assert command("status").out == ""
    assert command("status --json").json == []
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(roots, job.run, "smoke")
    describe([job], roots, Source("abc", False))
    Writer(folder.progress("train"), "x")(Progress("train", 240, 240, "", {"loss": 0.25}))
    write_failure(folder.failure("train"), "the loss is not finite\n  found     nan", "Traceback: nan", "x")
    folder.log("train").write_text("hello from the stage\n")
    rows = command("status table1 --json").json
    assert [(row["stage"], row["state"]) for row in rows] == [
        ("train", "failed"), ("sample", "missing"), ("evaluate", "missing"),
    ]  # fmt: skip
    assert rows[0]["error"] == "the loss is not finite"
    assert rows[0]["values"] == {"loss": 0.25}
    said = command("status")
    assert "the loss is not finite" in said.out
    assert "3 stages: 1 failed, 2 missing" in said.err
    logged = command("logs table1/E")
    assert "hello from the stage" in logged.out
    assert "Traceback: nan" in logged.out
    assert command("logs table1/E --scale mini").code == 2
    folder.description.write_text("{")
    assert command("status --json").json == []
    said = command("status")
    assert said.out == ""
    assert said.err.startswith(f"runs/{job.run.id}/run.json is damaged")
    assert "nothing was submitted" not in said.err


def test_a_run_that_the_system_refuses_hides_no_other(command: Command, tmp_path: Path) -> None:
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    describe([jobs.find("table1/E", "smoke"), jobs.find("table1/A", "smoke")], roots)
    refused = RunFolder(roots, jobs.find("table1/A", "smoke").run, "smoke").description
    refused.unlink()
    refused.mkdir()
    said = command("status --json")
    assert (said.code, {row["run"] for row in said.json}) == (0, {"table1/E"})
    told = f"runs/{refused.parent.name}/run.json cannot be read (Is a directory), and its run is not shown"
    assert told in command("status").err
    assert command("logs table1/E").code == 0
    said = command("logs table1/A")
    assert said.code == 2
    assert told in said.err
    assert command("submit table1/A --scale smoke").code == 1, "what others wrote there is not written over"


def test_weights_and_references_are_listed_and_damaged_ones_refused(command: Command, tmp_path: Path) -> None:
    listed = command("weights list --json").json
    assert {"inception-2015"} <= {row["name"] for row in listed}
    assert not any(row["present"] for row in listed)
    assert "missing" in command("weights list").out
    assert command("reference list --json").json == []
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    said = command(f"weights add {wrong}")
    assert said.code == 2
    assert sha256_file(wrong) in said.err
    assert not any(row["present"] for row in command("weights list --json").json)


def test_version(command: Command) -> None:
    from hdit_repro import __version__

    assert command("--version").out.strip() == f"hdit-repro {__version__}"


def test_submit_exits_with_one_where_a_row_failed(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "runs" / "x.log"
    failure = submit_module.Failure("table1/A", "train", "a made-up failure", log)
    monkeypatch.setattr(submit_module, "submit", lambda *_, **__: submit_module.Submission(3, ("7",), (failure,)))
    tables = [tmp_path / "runs" / "tables" / "smoke" / "table1.md"]
    monkeypatch.setattr(submit_module, "run_render", lambda _: tables)
    said = command("submit table1 --scale smoke --rows A --wait")
    assert said.code == 1
    assert "table1/A train: a made-up failure (log: runs/x.log)" in said.err
    assert "table    runs/tables/smoke/table1.md" in said.out
    monkeypatch.setattr(submit_module, "submit", lambda *_, **__: submit_module.Submission(3, ("7", "8"), ()))
    assert command("submit table1 --scale smoke --rows A --wait").code == 0
    assert command("submit table1 --scale smoke --rows A").out.split() == ["7", "8"]


def test_a_render_that_fails_is_a_failure() -> None:
    with pytest.raises(RunError, match="could not be rendered"):
        submit_module.run_render((sys.executable, "-c", "raise SystemExit(3)"))
    files = submit_module.run_render((sys.executable, "-c", "print('[\"a/b.md\"]')"))
    assert files == [Path("a/b.md")]


@pytest.mark.parametrize(("number", "code", "told"), [(errno.ENOSPC, 1, "No space left"), (errno.EPIPE, 141, "")])
def test_an_output_that_takes_no_more_is_no_traceback(
    number: int, code: int, told: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full device is told; that a reader went before the end is neither told nor the failure of a check."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("hdit_repro.cli.catalog.data", refuse)
    before = sys.stdout, sys.stderr
    try:
        said = command("list")
    finally:
        sys.stdout, sys.stderr = before
    assert said.code == code
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("dirty", "told"), [(True, 1), (False, 0), (None, 0)])
def test_a_submission_here_says_that_its_code_is_in_no_commit(
    command: Command, monkeypatch: pytest.MonkeyPatch, dirty: bool | None, told: int
) -> None:
    monkeypatch.setattr("hdit_repro.records.provenance.checkout_source", lambda checkout: Source("0" * 40, dirty))
    monkeypatch.setattr(submit_module, "submit", lambda *rest, **more: submit_module.Submission(3, ("12",), ()))
    said = command("submit table1/E --scale smoke")
    assert (said.code, said.out) == (0, "12\n")
    assert said.err.count("changes that no commit holds") == told
