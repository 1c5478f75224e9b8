"""A pack whose first worker is killed, on a real SLURM: the job comes back at the end of its time all the same."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.files import write_json
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm import journal
from hdit_repro.launch.slurm.submit import submit
from hdit_repro.records.layout import Roots

pytestmark = pytest.mark.slurm


def worker(job_id: str, rank: int) -> int | None:
    """The process of a job's worker; None where it is not there."""
    asked = {f"SLURM_JOB_ID={job_id}".encode(), f"SLURM_PROCID={rank}".encode()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")  # not srun's, whose arguments are the same
            set_there = {*(process / "environ").read_bytes().split(b"\0")}
        except OSError:
            continue
        if b"submitit.core._submit" in words and b"srun" not in words[0] and asked <= set_there:
            return int(process.name)
    return None


def test_a_pack_without_its_first_worker_is_requeued_at_the_end_of_its_time(
    roots: Roots, profile: Any, slow: ModuleType, until: Callable[..., None]
) -> None:
    rows = wanted("table1", "smoke", ["A", "E"])
    write_json(roots.runs / "ticks.json", {"table1/A train": 75, "table1/E train": 75})
    cluster = profile(pack_hours="1.0")
    submit(rows, roots, cluster, render=("this",), allow_dirty=True, stages=slow.STAGES)
    job_id = journal.journals(roots)[0].units[0].job_id
    history = roots.runs / "history.txt"
    until(lambda: history.exists() and history.read_text().count("start") == 2)
    first = worker(job_id, 0)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: worker(job_id, 0) is None)
    subprocess.run(["scancel", "--signal=USR2", job_id], check=True)
    tasks = tasks_for(rows, roots)
    until(lambda: all(task.folder.done("evaluate") for task in tasks))
    assert history.read_text().count("train") == 6, "both begun twice, ended once"
