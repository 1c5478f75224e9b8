"""Graphs of jobs on a real SLURM, with stages that take no torch: once each, failing, cancelled, killed, half-made."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import write_json
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm import act, attempts, journal, queue
from hdit_repro.launch.slurm.live import look
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted, submit
from hdit_repro.launch.status import Row, known_tasks
from hdit_repro.records.layout import Roots, RunFolder

pytestmark = pytest.mark.slurm

Until = Callable[..., None]


def send(rows: list[str], roots: Roots, profile: Slurm, slow: ModuleType) -> Submitted:
    jobs = wanted("table1", "smoke", rows)
    return submit(jobs, roots, profile, render=("this",), allow_dirty=True, stages=slow.STAGES)


def states(roots: Roots) -> dict[tuple[str, str], Row]:
    return {(row.run, row.stage): row for row in look(roots, known_tasks(roots)).rows}


def history(roots: Roots, word: str) -> list[str]:
    path = roots.runs / "history.txt"
    return [line.removeprefix(f"{word} ") for line in path.read_text().splitlines() if line.startswith(word)]


def empty(roots: Roots) -> bool:
    known = {job_id for entry in journal.journals(roots) for unit in entry.units for job_id in unit.ids}
    return not known & set(queue.squeue())


def test_rows_run_once_and_asking_twice_submits_nothing(
    roots: Roots, profile: Any, slow: ModuleType, until: Until
) -> None:
    cluster = profile()
    first = send(["A", "E"], roots, cluster, slow)
    assert (first.open, first.queued, len(first.job_ids)) == (6, 0, 4), "trains, two arrays of shards, the render"
    again = send(["A", "E"], roots, cluster, slow)
    assert (again.open, again.queued, again.job_ids) == (6, 6, ())
    wider = send(["A", "D", "E"], roots, cluster, slow)
    assert wider.queued == 6
    assert len(wider.job_ids) == 3, "only what D needs, and a render"
    until(lambda: empty(roots))
    ended = history(roots, "end")
    assert len(ended) == len(set(ended)) == 3 * 4
    assert {row.state for row in states(roots).values()} == {"done"}
    assert send(["A", "D", "E"], roots, cluster, slow) == Submitted(0, 0, (), "")
    assert states(roots)["table1/A", "train"].gpu_hours > 0


def test_a_failing_row_holds_up_no_other_and_three_alike_are_enough(
    roots: Roots, profile: Any, slow: ModuleType, until: Until
) -> None:
    write_json(roots.runs / "fail.json", {"table1/A train": 1})
    write_json(roots.runs / "flaky.json", {"table1/D train": 1})
    send(["A", "D", "E"], roots, profile(), slow)
    until(lambda: empty(roots), 300)
    found = states(roots)
    assert found["table1/E", "evaluate"].state == "done"
    assert (found["table1/A", "train"].state, found["table1/A", "train"].error) == (
        "failed",
        "a request that cannot be",
    )
    assert found["table1/A", "sample"].state == "missing"
    starts = [line.split()[0] for line in history(roots, "start") if " train " in line]
    assert (starts.count("table1/A"), starts.count("table1/D"), starts.count("table1/E")) == (1, 3, 1)
    why = found["table1/D", "train"].error
    assert why == "the same made-up trouble"
    part = RunFolder(roots, wanted("table1", "smoke", ["D"])[0].run, "smoke")
    noted = attempts.read(part.path / "state" / f"{part.stage_key('train')}.attempts.json")
    assert [attempt.why for attempt in noted] == [why] * 3
    # Mended, `retry` sends these two rows and no other.
    (roots.runs / "fail.json").unlink()
    (roots.runs / "flaky.json").unlink()
    (lost,) = act.failed(roots, known_tasks(roots))
    assert ({job.row for job in lost.jobs}, lost.cluster) == ({"A", "D"}, "tiny")
    send([job.row for job in lost.jobs], roots, profile(), slow)
    until(lambda: empty(roots), 300)
    assert {row.state for row in states(roots).values()} == {"done"}
    assert len([line for line in history(roots, "start") if line.startswith("table1/E")]) == 4


def test_a_shard_cancelled_by_hand_is_redone_and_nothing_else(
    roots: Roots, profile: Any, slow: ModuleType, until: Until
) -> None:
    write_json(roots.runs / "ticks.json", {"table1/A sample": 30})
    send(["A"], roots, profile(), slow)
    until(
        lambda: (
            (roots.runs / "history.txt").exists() and len([s for s in history(roots, "start") if "sample" in s]) == 2
        )
    )
    (entry,) = journal.journals(roots)
    (shards,) = [unit for unit in entry.units if unit.kind == "sample"]
    assert states(roots)["table1/A", "sample"].state == "running"
    queue.scancel([shards.id_of(1)])
    until(lambda: empty(roots))
    row = states(roots)["table1/A", "sample"]
    assert row.state == "failed"
    assert "cancelled" in row.error
    (lost,) = act.failed(roots, known_tasks(roots))
    assert lost.stages == ("table1/A sample",)
    again = send([job.row for job in lost.jobs], roots, profile(), slow)
    assert len(again.job_ids) == 2
    until(lambda: empty(roots))
    assert states(roots)["table1/A", "evaluate"].state == "done"
    drawn = [line.split()[2] for line in history(roots, "end") if "sample" in line]
    assert drawn == ["0-8", "8-16"]


def test_a_worker_of_a_pack_that_is_killed_takes_one_row_along(
    roots: Roots, profile: Any, slow: ModuleType, until: Until
) -> None:
    write_json(roots.runs / "die.json", {"table1/A train": 1})
    write_json(roots.runs / "ticks.json", {"table1/E train": 30})
    send(["A", "D", "E"], roots, profile(pack_hours="1.0"), slow)
    (entry,) = journal.journals(roots)
    assert [(unit.kind, unit.gpus) for unit in entry.units] == [("pack", 2), ("render", 0)]
    until(lambda: empty(roots))
    found = states(roots)
    for row in ("table1/D", "table1/E"):
        assert found[row, "evaluate"].state == "done"
    assert found["table1/A", "train"].state == "failed"
    assert "killed" in found["table1/A", "train"].error
    starts = [line.split()[0] for line in history(roots, "start") if " train " in line]
    assert sorted(starts) == ["table1/A", "table1/D", "table1/E"], "each once"
    (lost,) = act.failed(roots, known_tasks(roots))
    assert {job.row for job in lost.jobs} == {"A"}


def test_a_node_that_dies_is_survived(slurm: Path, roots: Roots, profile: Any, slow: ModuleType, until: Until) -> None:
    write_json(roots.runs / "ticks.json", {"table1/A train": 25})
    send(["A"], roots, profile(partition="h100", gpu="h100", pack_hours="1.0"), slow)
    until(lambda: (roots.runs / "history.txt").exists())
    job_id, node = history(roots, "start")[0].split()[-2:]
    try:
        kill_node(slurm, node, job_id)
        until(lambda: len(history(roots, "start")) > 1, 300)
        until(lambda: empty(roots))
    finally:
        start_node(slurm, node)
        until(lambda: node_is_back(node), 60)
    starts = [line.split() for line in history(roots, "start") if " train " in line]
    assert [line[-1] == node for line in starts] == [True, False]
    assert {row.state for row in states(roots).values()} == {"done"}


def kill_node(slurm: Path, node: str, job_id: str) -> None:
    """End a node's daemon, then those of the job's steps, then the job: at once, so that nobody tells SLURM."""
    os.kill(int((slurm / "pid" / f"slurmd-{node}").read_text()), signal.SIGKILL)
    steps, processes = [], []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
            if title.startswith(f"slurmstepd: [{job_id}.".encode()):
                steps.append(int(process.name))
            elif f"SLURM_JOB_ID={job_id}".encode() in (process / "environ").read_bytes().split(b"\0"):
                processes.append(int(process.name))
        except OSError:
            continue
    for pid in (*steps, *processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start_node(slurm: Path, node: str) -> None:
    """The daemon again, as slurm-up.sh starts it."""
    log, pid = slurm / "log" / f"slurmd-{node}.out", slurm / "pid" / f"slurmd-{node}"
    line = f"cd /; setsid slurmd -D -N {node} </dev/null >>{log} 2>&1 & echo $! >{pid}"
    subprocess.run(["bash", "-c", line], env={**os.environ, "SLURM_TEST_MARK": str(slurm)}, check=True)


def node_is_back(node: str) -> bool:
    return queue.ask("sinfo", "-h", "-n", node, "-N", "-o", "%T").split()[:1] == ["idle"]


def test_cancel_leaves_nothing_and_touches_no_other_row(
    roots: Roots, profile: Any, slow: ModuleType, until: Until
) -> None:
    write_json(roots.runs / "ticks.json", {"table1/A train": 200, "table1/E train": 10})
    send(["A", "E"], roots, profile(), slow)
    until(lambda: (roots.runs / "history.txt").exists() and len(history(roots, "start")) == 2)
    tasks = [task for task in known_tasks(roots) if task.name == "table1/A"]
    assert len(act.cancel(roots, tasks)) == 3
    until(lambda: empty(roots))
    found = states(roots)
    assert found["table1/E", "evaluate"].state == "done"
    assert "cancelled" in found["table1/A", "train"].error


def shim(folder: Path, body: str) -> str:
    """An `sbatch` before the real one on PATH, which counts its calls that submit in the file `calls`."""
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    folder.mkdir()
    script = folder / "sbatch"
    script.write_text(
        f'#!/bin/bash\n[ "$1" = --test-only ] && exec {real} "$@"\n'
        f"echo x >> {folder}/calls\nn=$(wc -l < {folder}/calls)\n{body.replace('SBATCH', real)}\n"
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_a_refusal_half_way_leaves_nothing_in_the_queue(
    here: Path, roots: Roots, profile: Any, slow: ModuleType, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(roots.runs / "ticks.json", {"table1/A train": 100})
    with monkeypatch.context() as patch:
        body = '[ $n = 2 ] && { echo "sbatch: error: no more" >&2; exit 1; }\nexec SBATCH "$@"'
        patch.setenv("PATH", shim(here / "bin", body))
        with pytest.raises(RunError, match="sbatch refuses") as refusal:
            send(["A"], roots, profile(), slow)
    assert "no more" in str(refusal.value)
    until(lambda: empty(roots), 60)
    assert [entry.state for entry in journal.journals(roots)] == ["cancelled"]


SUBMITTER = """
from pathlib import Path
from slow_stages import STAGES
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.submit import submit
from hdit_repro.records.layout import Roots

here = Path.cwd()
roots = Roots(here / "runs", here / "results")
submit(wanted("table1", "smoke", ["A"]), roots, read_cluster("tiny"), render=("this",), allow_dirty=True, stages=STAGES)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_submitter_killed_half_way_is_completed_by_the_next(
    here: Path, roots: Roots, profile: Any, slow: ModuleType, until: Until, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    cluster = profile()
    write_json(roots.runs / "ticks.json", {"table1/A train": 15})
    kill = "kill -9 $PPID; sleep 0.2"
    order = f'{kill}; SBATCH "$@"' if when == "before" else f'SBATCH "$@"; {kill}'
    body = f'if [ $n = 2 ]; then {order}; exit; fi\nexec SBATCH "$@"'
    path = shim(here / "bin", body)
    died = subprocess.run([sys.executable, "-c", SUBMITTER], env={**os.environ, "PATH": path}, check=False)
    assert died.returncode == -signal.SIGKILL
    (entry,) = journal.journals(roots)
    assert (entry.state, [bool(unit.job_id) for unit in entry.units]) == ("open", [True, False, False])
    send(["A"], roots, cluster, slow)
    until(lambda: empty(roots))
    ended = history(roots, "end")
    assert len(ended) == len(set(ended)) == 4
    assert not [job for job in queue.squeue().values() if entry.session in job.name]
    assert tasks_for(wanted("table1", "smoke", ["A"]), roots)[-1].folder.done("evaluate")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"partition": "a10"}, "no partition at this site called 'a10'"),
        ({"gpu": "v100"}, "no node of partition a100 has gpu:v100"),
        ({"gpu": "a100", "submit_cap": "3"}, "does not take so many jobs"),
        ({"sbatch": '"begin" = "nonsense"'}, "would not take a job"),
    ],
)
def test_what_the_site_does_not_have_is_refused_before_anything_is_submitted(
    roots: Roots, profile: Any, slow: ModuleType, changes: dict[str, str], problem: str
) -> None:
    before = set(queue.squeue())
    with pytest.raises(UserError, match=problem) as refusal:
        send(["A"], roots, profile(**changes), slow)
    assert refusal.value.fix
    assert set(queue.squeue()) == before
    assert journal.journals(roots) == []
