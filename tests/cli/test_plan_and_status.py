"""What is to be done and what became of it: plan, submit, status, logs."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hdit_repro import jobs
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.launch import submit as submit_module
from hdit_repro.launch.describe import describe
from hdit_repro.launch.progress import Writer, for_log, note_failure, write_failure
from hdit_repro.launch.slurm.render import RenderJob
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.provenance import Source
from hdit_repro.stages.settings import Progress

Command = Callable[[str], Any]


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


def test_what_watches_without_a_terminal_prints_what_has_changed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of what was watched had the same table every two seconds."""
    job, roots = jobs.find("table1/E", "smoke"), Roots(tmp_path / "runs", tmp_path / "results")
    describe([job], roots)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            write_failure(RunFolder(roots, job.run, "smoke").failure("train"), "boom", "boom", "x")

    monkeypatch.setattr("hdit_repro.cli.status.time", SimpleNamespace(sleep=sleep, monotonic=lambda: sum(looks)))
    said = command("status --watch")
    assert len(looks) > 3
    assert said.out.count("table1/E") == 3, "two tables, and a note of what failed"
    assert said.err.count("3 stages: ") == 2


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


@pytest.mark.parametrize(("scale", "field"), [("paper", "train_gpus"), ("mini", "train_gpus_below_paper")])
@pytest.mark.parametrize(("gpus", "fitting"), [(5_000, ""), (3, "2 or 4")])
def test_gpus_that_cannot_share_a_batch_are_refused_before_they_are_priced(
    command: Command, tmp_path: Path, scale: str, field: str, gpus: int, fitting: str
) -> None:
    """A batch of 256 was planned as 43 s on 5,000 GPUs; the submission refused it, and named the wrong field."""
    profile = (jobs.files.folders()[-1] / "clusters" / "a100.toml").read_text(encoding="utf-8")
    (tmp_path / "jobs/clusters").mkdir(parents=True)
    mine = re.sub(rf"(?m)^{field} = .*$", f"{field} = {gpus}", profile)
    (tmp_path / "jobs/clusters/mine.toml").write_text(mine, encoding="utf-8")
    batch = jobs.find("table1/E", scale).run.training.batch
    for line in ("plan", "plan --json", "submit --dry-run"):
        said = command(f"{line} table1/E --cluster mine --scale {scale}")
        assert (said.code, said.out) == (2, "")
        assert f"{gpus} processes, a batch of {batch}\n" in said.err
        assert f"set {field} in jobs/clusters/mine.toml to {fitting or batch}\n" in said.err
    other = {"paper": "mini", "mini": "paper"}[scale]
    assert command(f"plan table1/E --cluster mine --scale {other}").code == 0


def test_changes_that_no_commit_holds_are_told_by_what_the_command_says_of_them(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --allow-dirty it said to add --allow-dirty."""
    monkeypatch.setattr("hdit_repro.launch.slurm.snapshot.checkout_source", lambda _: Source("0" * 40, True))
    line = "submit table1/E --cluster a100 --dry-run"
    assert "to submit it, commit them or add --allow-dirty" in command(line).err
    said = command(f"{line} --allow-dirty").err
    assert "the code has changes that no commit holds: --allow-dirty keeps them beside the runs" in said
    assert "add --allow-dirty" not in said


def test_a_card_that_is_not_known_is_named(command: Command, tmp_path: Path) -> None:
    """The column of memory lost the card's without a word."""
    profile = (jobs.files.folders()[-1] / "clusters" / "a100.toml").read_text(encoding="utf-8")
    (tmp_path / "jobs/clusters").mkdir(parents=True)
    (tmp_path / "jobs/clusters/mine.toml").write_text(profile.replace('gpu = "A100"', 'gpu = "Z9"'), encoding="utf-8")
    assert "hdit_repro/cost/cards.py has no Z9" in command("plan table1/E --cluster mine").err
    assert "cards.py" not in command("plan table1/E --cluster a100").err


def test_rows_and_the_cluster_of_the_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {stage["run"] for stage in command("plan table1 --rows A,E --json").json} == {
        "table1/A",
        "table1/E",
        "table1",
    }
    monkeypatch.setenv("HDIT_REPRO_CLUSTER", "h100")
    assert "H100-hours" in command("plan table1").err
    assert command("submit table1").code == 2


def test_what_would_be_done_without_tables_renders_none(command: Command) -> None:
    stages = [row["stage"] for row in command("submit table1/E --scale smoke --dry-run --no-tables --json").json]
    assert stages == ["train", "sample", "evaluate"]
    assert "render" not in command("submit table1/E --scale smoke --dry-run --no-tables").out
    assert "render" in command("submit table1/E --scale smoke --dry-run").out


def test_what_takes_minutes_of_a_gpu_is_not_said_to_take_none(command: Command) -> None:
    (line,) = [line for line in command("plan table1/E --scale mini").err.splitlines() if line.startswith("to go: ")]
    assert 0 < float(re.findall(r"[\d.]+", line)[0]) < 0.1


def test_a_folder_of_runs_that_is_none_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    said = command("status")
    assert said.code == 1
    assert f"{tmp_path / 'runs'}: it is a file, where a folder is wanted" in said.err


def test_status_and_logs_read_what_lies_there(command: Command, tmp_path: Path) -> None:
    assert command("status").out == ""
    assert command("status --json").json == []
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(roots, job.run, "smoke")
    describe([job], roots, Source("abc", False))
    Writer(folder.progress("train"), "x")(Progress("train", 240, 240, "", {"loss": 0.25}))
    error = RunError("the loss is not finite", found="nan")
    note_failure(folder.failure("train"), error, "x")
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
    assert logged.out.endswith(f"train failed: {error}\n"), "without its traceback"
    assert command("logs table1/E --scale mini").code == 2
    folder.description.write_text("{")
    assert command("status --json").json == []
    said = command("status")
    assert said.out == ""
    assert said.err.startswith(f"runs/{job.run.id}/run.json is damaged")
    assert "nothing was submitted" not in said.err


@pytest.mark.parametrize("error", [RunError("the loss is not finite", found="nan"), ValueError("two\r\nlines")])
@pytest.mark.parametrize("older", [False, True])
def test_logs_show_each_failure_once(command: Command, tmp_path: Path, error: Exception, older: bool) -> None:
    """The log's traceback began a frame before the failure file's, and both were printed. Older versions logged every
    error with its traceback, and did not note which are the project's."""
    job = jobs.find("table1/E", "smoke")
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    describe([job], roots, Source("abc", False))
    folder = RunFolder(roots, job.run, "smoke")
    with contextlib.suppress(type(error)):
        raise error
    note_failure(folder.failure("train"), error, "x")
    if older:
        noted = read_json(folder.failure("train"))
        write_json(folder.failure("train"), {name: noted[name] for name in noted if name != "own"})
    alone = command("logs table1/E").out
    assert alone.count("Traceback") == (older or isinstance(error, ValueError))
    assert "nan" in alone or "lines" in alone
    traced = "Traceback (most recent call last):\n  a frame before\n" + "".join(traceback.format_exception(error))
    folder.log("train").write_text(f"{traced if older else for_log(error)}\n")
    said = command("logs table1/E").out
    assert said.count("failed: ") == 0
    assert said.count("nan" if isinstance(error, RunError) else "two") == 1


def test_logs_of_a_row_that_no_paper_scale_can_be(command: Command, tmp_path: Path) -> None:
    """`status` and `submit` name this command where a stage failed."""
    (tmp_path / "jobs").mkdir()
    row = '[row.tiny]\nextends = "table1/E"\ndata = { resolution = 16 }\n'
    (tmp_path / "jobs/mine.toml").write_text(row, encoding="utf-8")
    job = jobs.find("mine/tiny", "smoke")
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    describe([job], roots, Source("abc", False))
    RunFolder(roots, job.run, "smoke").log("train").write_text("hello from the stage\n")
    assert "hello from the stage" in command("logs mine").out
    assert "mine.toml:1, row tiny" in command("logs mine --scale paper").err


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


def test_submit_exits_with_one_where_a_row_failed(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "runs" / "x.log"
    error = str(UserError("a made-up failure", found="photos/a.png: cut", expected="a whole one", fix="get it again"))
    failed = [submit_module.Failure(f"table1/{row}", "train", error, log, f"table1/{row}") for row in "AE"]
    failed.append(submit_module.Failure("table1/B seed 1", "sample", "KeyError: 7", log, "table1/B"))
    monkeypatch.setattr(submit_module, "submit", lambda *_, **__: submit_module.Submission(3, ("7",), tuple(failed)))
    tables = [tmp_path / "runs" / "tables" / "smoke" / "table1.md"]
    monkeypatch.setattr(submit_module, "run_render", lambda _: tables)
    said = command("submit table1 --scale smoke --rows A --wait")
    assert said.code == 1
    assert said.err.splitlines()[-7:] == [
        "  found     table1/A train, table1/E train: a made-up failure (log: runs/x.log)",
        "            found     photos/a.png: cut",
        "            expected  a whole one",
        "            fix       get it again",
        "            table1/B seed 1 sample: KeyError: 7 (log: runs/x.log)",
        "  expected  every stage done",
        "  fix       `hdit-repro logs table1/A` prints the whole; the same command again tries what failed",
    ]
    assert "table    runs/tables/smoke/table1.md" in said.out
    monkeypatch.setattr(submit_module, "submit", lambda *_, **__: submit_module.Submission(3, ("7", "8"), ()))
    assert command("submit table1 --scale smoke --rows A --wait").code == 0
    assert command("submit table1 --scale smoke --rows A").out.split() == ["7", "8"]


def test_what_is_done_is_told_by_the_rows_that_were_asked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_module, "submit", lambda *_, **__: submit_module.Submission(0, (), ()))
    for asked in ("table1/E", "table1 --rows A,E", "table1"):
        said = command(f"submit {asked} --scale smoke --no-tables").err
        assert f"stages of {asked} at smoke scale are done" in said


def test_a_render_that_fails_is_a_failure() -> None:
    with pytest.raises(RunError, match="could not be rendered"):
        submit_module.run_render((sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(RunError, match="could not be rendered") as caught:
        RenderJob(("hdit_repro.cli", "no-such-command"))()
    assert caught.value.expected == f"{sys.executable} -m hdit_repro.cli no-such-command"
    files = submit_module.run_render((sys.executable, "-c", "print('[\"a/b.md\"]')"))
    assert files == [Path("a/b.md")]


@pytest.mark.parametrize(("dirty", "told"), [(True, 1), (False, 0), (None, 0)])
def test_a_submission_here_says_that_its_code_is_in_no_commit(
    command: Command, monkeypatch: pytest.MonkeyPatch, dirty: bool | None, told: int
) -> None:
    monkeypatch.setattr("hdit_repro.records.provenance.checkout_source", lambda checkout: Source("0" * 40, dirty))
    monkeypatch.setattr(submit_module, "submit", lambda *rest, **more: submit_module.Submission(3, ("12",), ()))
    said = command("submit table1/E --scale smoke")
    assert (said.code, said.out) == (0, "12\n")
    assert said.err.count("changes that no commit holds") == told


def test_status_asks_how_wide_the_terminal_is(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    describe([jobs.find("table1/E", "smoke")], Roots(tmp_path / "runs", tmp_path / "results"))
    assert command("status").out.splitlines()[1].split() == ["table1/E", "-", "-", "-"]
    monkeypatch.setattr("hdit_repro.cli.status.width", lambda stream: 30 * (stream is sys.stdout))
    assert command("status").out.splitlines() == ["table1/E", "  train: -", "  sample: -", "  evaluate: -"]


def test_options_of_slurm_that_change_nothing_on_this_machine_are_told(command: Command) -> None:
    plain = command("submit table1/E --scale smoke --dry-run")
    said = command("submit table1/E --scale smoke --dry-run --yes --allow-dirty")
    assert (said.code, said.out) == (0, plain.out)
    told = " ".join(said.err.split())
    assert "--yes changes nothing here" in told
    assert "--allow-dirty changes nothing here" in told
    assert "changes nothing" not in plain.err
