"""What a job does when its stage fails or is asked to leave. No scheduler: `scontrol` is a line of shell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro.errors import RunError
from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import tasks_for, wanted
from hdit_repro.launch.progress import read_failure
from hdit_repro.launch.slurm import attempts
from hdit_repro.launch.slurm import job as jobs
from hdit_repro.launch.slurm.job import StageJob
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings


class Site:
    """A job's surroundings: its ids, `scontrol`, and a wait for the scheduler that takes no time."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._told, self._patch = folder / "told", patch
        folder.mkdir()
        (folder / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {self._told}\n')
        (folder / "scontrol").chmod(0o755)
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(jobs, "GRACE", 0.0)
        self.rank(0, 1)

    def rank(self, rank: int, size: int) -> None:
        """Be this one of the job's processes."""
        named = {"PROCID": rank, "NTASKS": size, "LOCALID": rank, "JOB_ID": 77, "JOB_NODELIST": "localhost"}
        for name, value in named.items():
            self._patch.setenv(f"SLURM_{name}", str(value))

    @property
    def requeues(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return Site(tmp_path / "bin", monkeypatch)


@pytest.fixture
def training(roots: Roots) -> Task:
    return tasks_for(wanted("table1", "smoke", ["E"]), roots)[0]


def run(task: Task, function: Callable[..., Any], gpus: int = 1) -> None:
    StageJob((task,), "s", Settings(), gpus, stages=dict.fromkeys(("train", "sample", "evaluate"), function))()


def failing(*errors: Exception) -> Callable[..., Any]:
    left = list(errors)

    def stage(*_: Any) -> None:
        raise left.pop(0)

    return stage


def test_a_failure_whose_message_has_changing_numbers_is_requeued_twice(site: Site, training: Task) -> None:
    stage = failing(*(RuntimeError(f"out of memory: {free} MiB free, process {3900 + free}") for free in range(9)))
    for start in range(5):
        with pytest.raises((RuntimeError, RunError), match="out of memory" if start < 3 else "is not tried again"):
            run(training, stage)
    assert site.requeues == ["requeue 77"] * 2


def test_a_stage_that_is_not_tried_again_neither_runs_nor_requeues(site: Site, training: Task) -> None:
    part, ran = Part(training.folder, "train"), []
    for _ in range(3):
        attempts.begin(part, "s", "77", 1, "it")  # each killed without a word
    for _ in range(3):
        with pytest.raises(RunError, match="is not tried again"):
            run(training, lambda *_: ran.append(1))
    assert (ran, site.requeues) == ([], [])
    assert "is not tried again" in read_failure(part.failure)["error"]
    assert len(attempts.read(part.attempts)) == 3
