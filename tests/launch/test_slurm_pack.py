"""Who puts a pack's job back into the queue where its first worker is dead. `scontrol` is a line of shell."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.files import lock
from hdit_repro.launch.plan import tasks_for, wanted
from hdit_repro.launch.slurm import job as jobs
from hdit_repro.launch.slurm import journal
from hdit_repro.launch.slurm.job import StageJob
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings
from hdit_repro.training.signals import Preempted


@pytest.mark.parametrize("stage", ["train", "sample"])
@pytest.mark.parametrize("first_lives", [True, False])
def test_another_worker_requeues_the_job_where_the_first_one_is_dead(
    roots: Roots, made_up: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, first_lives: bool
) -> None:
    """USR2 in a training, which catches it itself and saves, and in a stage that does not."""
    told = tmp_path / "told"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {quote(str(told))}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    named = {"PROCID": 1, "NTASKS": 2, "LOCALID": 1, "JOB_ID": 77, "JOB_NODELIST": "n1", "RESTART_COUNT": 3}
    for name, value in named.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setattr(jobs, "GRACE", 0.0)

    def asked(job: Any, folder: Any, settings: Any, report: Any) -> None:
        if stage == "train":
            error = Preempted("saved", found="USR2", expected="more time", fix="again")
            error.signum = signal.SIGUSR2
            raise error
        os.kill(os.getpid(), signal.SIGUSR2)
        made_up.STAGES[stage](job, folder, settings, report)

    work = StageJob(
        tuple(tasks_for(wanted("table1", "smoke", ["A"]), roots)), "s", Settings(), 2, packed=True,
        stages={**made_up.STAGES, stage: asked},
    )  # fmt: skip
    lead = journal.folder(roots, "s") / "77.3.lead"
    before = signal.getsignal(signal.SIGUSR2)
    with lock(lead if first_lives else tmp_path / "another"):
        if stage == "train":
            with pytest.raises(Preempted):
                work()
        else:
            work()
    assert signal.getsignal(signal.SIGUSR2) == before
    assert told.exists() is not first_lives
    assert first_lives or told.read_text() == "requeue 77\n"


def test_the_first_worker_keeps_the_others_from_requeueing_for_as_long_as_it_works(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"PROCID": 0, "NTASKS": 2, "LOCALID": 0, "JOB_ID": 77, "JOB_NODELIST": "n1"}
    for name, value in named.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    lead, seen = journal.folder(roots, "s") / "77.0.lead", []

    def look(job: Any, folder: Any, settings: Any, report: Any) -> None:
        with lock(lead, wait=False) as held:
            seen.append(held)
        made_up.STAGES["train"](job, folder, settings, report)

    tasks = tuple(tasks_for(wanted("table1", "smoke", ["A"]), roots))
    StageJob(tasks, "s", Settings(), 2, packed=True, stages={**made_up.STAGES, "train": look})()
    assert seen == [False]
