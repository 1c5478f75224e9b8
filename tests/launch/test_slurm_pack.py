"""Who puts a pack's job back into the queue where its first worker is dead. `scontrol` is a line of shell."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.files import lock
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import Writer
from hdit_repro.launch.slurm import attempts, journal, pack
from hdit_repro.launch.slurm import job as jobs
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


@pytest.mark.parametrize(
    ("said", "there", "cards"),
    [
        (None, ["0", "1", "2"], ["0", "1", "2"]),  # whole nodes, of which nobody names the cards
        ("3,5,7", [], ["3", "5", "7"]),
        ("3", [], ["3", "3", "3"]),  # to each its own, by the site
        (None, [], [None, None, None]),
    ],
)
def test_each_worker_of_a_pack_has_a_card_of_its_own(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str | None,
    there: list[str], cards: list[str | None],
) -> None:  # fmt: skip
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo GPU {name}: A100\n" for name in there))
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    seen: list[str | None] = []

    def look(*asked: Any, **more: Any) -> None:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        made_up.STAGES["train"](*asked, **more)

    for rank, row in enumerate(("A", "D", "E")):
        named = {"PROCID": rank, "NTASKS": 3, "LOCALID": rank, "JOB_ID": 77, "JOB_NODELIST": "n1"}
        for name, value in named.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))
        if said is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
        tasks = tuple(tasks_for(wanted("table1", "smoke", [row]), roots))
        StageJob(tasks, "s", Settings(), 3, packed=True, stages={**made_up.STAGES, "train": look})()
    assert seen == cards


@pytest.mark.parametrize(
    ("case", "owner", "dead"),
    [
        ("killed", "s/77.2.0", True),
        ("alive", "s/77.2.0", False),
        ("finished", "s/77.2.0", False),
        ("noted by another worker meanwhile", "s/77.2.0", False),
        ("killed in an earlier start", "s/77.1.0", False),
        ("killed in a later one", "s/77.20.0", False),
    ],
)
def test_what_counts_as_the_death_of_another_worker(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch, case: str, owner: str, dead: bool
) -> None:
    """Else a row that trains well beside this worker would have failed."""
    task = tasks_for(wanted("table1", "smoke", ["A"]), roots)[0]
    part = Part(task.folder, "train")
    attempts.begin(part, "s", "77", 1, "it")
    Writer(part.progress, owner)
    monkeypatch.setattr(pack, "MOMENTS", 0.0)
    if case == "finished":
        made_up.STAGES["train"](task.job, task.folder, Settings(), lambda _: None)

    @contextlib.contextmanager
    def noted(path: Path, wait: bool) -> Iterator[bool]:
        attempts.close(part)
        with lock(path, wait=wait) as held:
            yield held

    if "meanwhile" in case:
        monkeypatch.setattr(pack, "lock", noted)
    chain = pack.PackChain((task,), Settings(), "s", "77.2.1", stages={})
    with lock(part.lock) if case == "alive" else contextlib.nullcontext():
        assert chain._note_death(task) is dead
    assert part.failure.exists() is dead
