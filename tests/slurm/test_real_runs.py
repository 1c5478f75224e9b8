"""The suite's own stages on a real SLURM: a table from one command, preemption, several nodes, scripts, a check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from hdit_repro.files import read_json
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import read_progress
from hdit_repro.launch.slurm import attempts, journal, queue
from hdit_repro.records.layout import Roots, RunFolder

pytestmark = pytest.mark.slurm

Until = Callable[..., None]
Command = Callable[..., subprocess.CompletedProcess[str]]


def folder_of(roots: Roots, row: str) -> RunFolder:
    return RunFolder(roots, wanted("table1", "smoke", [row])[0].run, "smoke")


def weights(folder: RunFolder) -> dict[str, Any]:
    """All tensors of the final checkpoint, as bytes."""
    marker = read_json(folder.final_marker)
    with safe_open(folder.checkpoints / marker["file"], framework="pt") as file:
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}


def test_one_command_from_nothing_to_a_rendered_table(here: Path, roots: Roots, profile: Any, command: Command) -> None:
    profile()
    asked = ("submit", "table1", "--scale", "smoke", "--rows", "R1,A,E", "--seeds", "2", "--cluster", "tiny")
    done = command(*asked, "--allow-dirty", "--wait")
    assert done.returncode == 0, done.stderr
    assert "19 jobs in 8 calls of sbatch" in done.stderr
    table = (roots.runs / "tables" / "smoke" / "table1.md").read_text()
    measured = [line for line in table.splitlines() if "fd-efficientnet-lite0" in line or line.startswith("|")]
    assert measured, table
    assert len(list((roots.runs / "results" / "smoke").rglob("*.json"))) == 6
    rows = json.loads(command("status", "table1", "--json").stdout)
    assert {row["state"] for row in rows} == {"done"}
    assert sum(row["gpu_hours"] for row in rows) > 0
    again = command(*asked, "--allow-dirty")
    assert again.returncode == 0, again.stderr
    assert "every stage is done" in again.stderr
    assert len(journal.journals(roots)) == 1
    logged = command("logs", "table1/A")
    assert "train of table1/A, job" in logged.stdout
    assert "sample of table1/A, job" in logged.stdout


def trains_for_a_while(here: Path) -> None:
    """Training long enough to be interrupted in its middle."""
    scales = here / "jobs" / "scales.toml"
    scales.write_text(scales.read_text().replace("steps = 10, batch = 8", "steps = 120, batch = 8"))


def attempts_of(folder: RunFolder) -> list[attempts.Attempt]:
    return attempts.read(folder.path / "state" / f"{folder.stage_key('train')}.attempts.json")


def equals_an_undisturbed_run(here: Path, folder: RunFolder) -> bool:
    """Train row A again, in one go and in another place, and compare the final weights bit by bit."""
    alone = here / "alone"
    alone.mkdir()
    command_line = ["env", f"HDIT_REPRO_WORKPLACE={alone}"]
    train = [sys.executable, "-m", "hdit_repro.cli", "train", "--run", "table1/A", "--scale", "smoke", "--threads", "1"]
    done = subprocess.run([*command_line, *train], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = weights(folder), weights(folder_of(Roots(alone / "runs", alone / "results"), "A"))
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def test_a_preempted_run_ends_with_the_weights_of_an_undisturbed_one(
    here: Path, roots: Roots, profile: Any, command: Command, until: Until
) -> None:
    trains_for_a_while(here)
    profile(partition="scavenge", sbatch='nodelist = "n2"')
    sent = command("submit", "table1/A", "--scale", "smoke", "--cluster", "tiny", "--allow-dirty")
    assert sent.returncode == 0, sent.stderr
    folder = folder_of(roots, "A")
    until(lambda: 10 <= read_progress(folder.progress("train")).done < 80)
    higher = ["sbatch", "-p", "a100", "-w", "n2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2"]
    subprocess.run(higher, check=True, capture_output=True)
    until(lambda: attempts_of(folder)[-1].why == "done", 300)
    assert folder.done("train")
    noted = attempts_of(folder)
    assert [attempt.why for attempt in noted] == ["preempted", "done"]
    assert 10 <= noted[1].at < 120
    assert command("cancel", "table1/A").returncode == 0
    assert equals_an_undisturbed_run(here, folder)


def test_a_run_whose_time_ends_twice_goes_on_to_the_same_weights(
    here: Path, roots: Roots, profile: Any, command: Command, until: Until
) -> None:
    """A limit of six minutes, at which submitit takes every USR2 for the one at the end of the time."""
    trains_for_a_while(here)
    profile(time_limit_hours="0.1")
    sent = command("submit", "table1/A", "--scale", "smoke", "--cluster", "tiny", "--allow-dirty")
    assert sent.returncode == 0, sent.stderr
    folder = folder_of(roots, "A")
    (entry,) = journal.journals(roots)
    training = entry.units[0].job_id
    for seen in (0, 1):
        until(lambda seen=seen: len(attempts_of(folder)) == seen + 1)
        begun = attempts_of(folder)[-1].at
        until(lambda begun=begun: read_progress(folder.progress("train")).done >= begun + 10)
        subprocess.run(["scancel", "--signal=USR2", training], check=True)
    until(lambda: attempts_of(folder)[-1].why == "done", 300)
    assert folder.done("train")
    assert [attempt.why for attempt in attempts_of(folder)] == ["preempted", "preempted", "done"]
    said = "".join(path.read_text() for path in journal.folder(roots, entry.session).glob(f"{training}_0_log.*"))
    assert said.count("timed-out") >= 2, said
    assert command("cancel", "table1/A").returncode == 0
    assert equals_an_undisturbed_run(here, folder)


def test_retry_draws_the_shard_that_was_cancelled_by_hand_and_no_other(
    here: Path, roots: Roots, profile: Any, command: Command, until: Until
) -> None:
    profile()
    sent = command("submit", "table1/A", "--scale", "smoke", "--cluster", "tiny", "--allow-dirty")
    assert sent.returncode == 0, sent.stderr
    (entry,) = journal.journals(roots)
    (shards,) = [unit for unit in entry.units if unit.kind == "sample"]
    assert len(shards.ids) == 2
    queue.scancel([shards.id_of(1)])
    until(lambda: not {*entry.units[0].ids, *shards.ids} & {*queue.squeue()})
    rows = {row["stage"]: row for row in json.loads(command("status", "table1/A", "--json").stdout)}
    assert (rows["train"]["state"], rows["sample"]["state"]) == ("done", "failed")
    assert f"job {shards.id_of(1)} " in rows["sample"]["error"]
    shown = command("status", "table1/A")
    assert "table1/A sample failed: job" in shown.stdout
    again = command("retry", "table1/A", "--allow-dirty")
    assert again.returncode == 0, again.stderr
    assert len(again.stdout.split()) == 2, "the shard, which measures too, and the render"
    folder = folder_of(roots, "A")
    until(lambda: folder.done("evaluate"), 300)
    drawn = sorted((folder.path / "state").glob(f"{folder.stage_key('sample')}.*.attempts.json"))
    assert [len(attempts.read(path)) for path in drawn] == [1, 1]
    assert command("retry", "table1/A").stdout == ""


def test_training_on_two_nodes_with_two_tasks_each(
    here: Path, roots: Roots, profile: Any, command: Command, until: Until
) -> None:
    profile(train_gpus=4)
    sent = command("submit", "table1/E", "--scale", "smoke", "--cluster", "tiny", "--allow-dirty")
    assert sent.returncode == 0, sent.stderr
    (entry,) = journal.journals(roots)
    assert [unit.gpus for unit in entry.units] == [4, 1, 0]
    folder = folder_of(roots, "E")
    until(lambda: [attempt.why for attempt in attempts_of(folder)] == ["done"], 300)
    script = (journal.folder(roots, entry.session) / f"{entry.units[0].job_id}_submission.sh").read_text()
    assert "--nodes=2" in script
    assert "--ntasks-per-node=2" in script
    ranks = sorted(
        path.name for path in journal.folder(roots, entry.session).glob(f"{entry.units[0].job_id}_*_log.out")
    )
    assert len(ranks) == 4
    (attempt,) = attempts.read(folder.path / "state" / f"{folder.stage_key('train')}.attempts.json")
    assert (attempt.gpus, attempt.why) == (4, "done")
    until(lambda: folder.done("evaluate"), 300)


def test_rows_that_take_little_share_an_allocation(
    here: Path, roots: Roots, profile: Any, command: Command, until: Until
) -> None:
    profile(pack_hours="1.0")
    sent = command(
        "submit", "table1", "--scale", "smoke", "--rows", "A,E", "--cluster", "tiny", "--allow-dirty", "--wait"
    )
    assert sent.returncode == 0, sent.stderr
    (entry,) = journal.journals(roots)
    assert [(unit.kind, unit.gpus, len(unit.elements)) for unit in entry.units] == [("pack", 2, 1), ("render", 0, 1)]


@pytest.mark.parametrize("cluster", ["a100", "h100", "tiny"])
def test_sbatch_accepts_the_scripts_of_a_dry_run(
    here: Path, roots: Roots, profile: Any, command: Command, cluster: str
) -> None:
    profile()
    shown = command("submit", "table1", "--cluster", cluster, "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    scripts = json.loads(shown.stdout)
    assert {script["kind"] for script in scripts} == {"train", "sample", "render"}
    for script in scripts:
        tried = subprocess.run(
            ["sbatch", "--test-only"], input=script["text"], capture_output=True, text=True, check=False
        )
        assert tried.returncode == 0, tried.stderr
    assert not any((here / "runs").iterdir())


def test_a_check_says_what_nodes_see_and_what_is_wrong(
    here: Path, roots: Roots, profile: Any, command: Command
) -> None:
    profile()
    said = command("cluster", "check", "tiny", "--nodes", "2", "--json")
    checked = json.loads(said.stdout)
    assert {node["node"] for node in checked["nodes"]} == {"n1", "n2"}
    assert all(node["sees_runs"] and node["gpus"] == ["0"] for node in checked["nodes"])
    assert all(node["write_mb_per_second"] > 0 for node in checked["nodes"])
    assert said.returncode == 1, "the stand-in GPUs are none that torch can use"
    assert all("cannot use its GPU" in problem for problem in checked["wrong"])


def in_a_folder_of_its_own(here: Path, size: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where `runs` is a small disk that only this process and its children see."""
    mount = f'mount -t tmpfs -o size={size} tmpfs "{here}/runs" && exec "$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs "{here}/runs"'], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    whole = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-m", "hdit_repro.cli", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)


def test_a_folder_that_no_node_sees_is_found_by_the_check(here: Path, roots: Roots, profile: Any) -> None:
    profile()
    before = set(queue.squeue())
    said = in_a_folder_of_its_own(here, "1g", "cluster", "check", "tiny", "--patience", "60")
    assert said.returncode == 1, said.stdout
    assert "the nodes may not see the folder of runs" in said.stderr, said.stderr
    assert "`runs`" in said.stderr
    assert set(queue.squeue()) <= before


def test_a_disk_that_is_too_small_is_found_before_anything_is_submitted(here: Path, roots: Roots, profile: Any) -> None:
    profile()
    before = set(queue.squeue())
    asked = ("submit", "table1/E", "--scale", "paper", "--cluster", "tiny", "--allow-dirty", "--yes")
    said = in_a_folder_of_its_own(here, "64m", *asked)
    assert said.returncode == 2, said.stderr
    assert "not enough room" in said.stderr
    assert "hdit-repro gc" in said.stderr
    full = in_a_folder_of_its_own(here, "64k", *asked)
    assert full.returncode == 1, full.stderr
    assert "no space left" in full.stderr
    assert set(queue.squeue()) == before
