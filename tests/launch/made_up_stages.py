"""Stages that take no torch: they leave the markers of real ones, note that they ran, and can fail, wait or die."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import write_json
from hdit_repro.jobs import Job
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.schema import digest_of
from hdit_repro.stages.settings import Progress, Report, Settings
from hdit_repro.training.signals import Preempted, Stop

MADE_UP = {"made": "up", "digest": digest_of({"made": "up"})}
"""A measurement that passes for a whole one."""


def note(folder: RunFolder, stage: str, job: Job, word: str) -> None:
    """One line a start or end, in a file that all processes append to."""
    line = f"{word} {folder.stage_key(stage)} {job.name} {os.getpid()}\n"
    handle = os.open(folder.roots.runs / "history.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line.encode())
    os.close(handle)


def leave_output(folder: RunFolder, stage: str) -> None:
    if stage == "train":
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        (folder.checkpoints / "step.safetensors").write_bytes(b"x")
        marker = {"file": "step.safetensors", "sha256": "0", "step": 1, "run": folder.run.training_id}
        write_json(folder.final_marker, marker)
    elif stage == "sample":
        write_json(folder.manifest, {"complete": True})
    else:
        write_json(folder.record, MADE_UP)


def work(stage: str, job: Job, folder: RunFolder, report: Report) -> None:
    """Two ticks of work. A file `seconds` in runs/ says how long each takes, `together` how many workers must
    have begun before one goes on; `saves` makes trainings last until they are asked to leave; `fail` and `die` name
    what goes wrong."""
    note(folder, stage, job, "start")
    runs = folder.roots.runs
    if (runs / "together").exists():
        wait_for_workers(runs / "history.txt", int((runs / "together").read_text()))
    if (runs / "saves").exists() and stage == "train":
        save_when_asked(folder, job)
    seconds = float((runs / "seconds").read_text()) if (runs / "seconds").exists() else 0.0
    for done in range(1, 3):
        time.sleep(seconds)
        report(Progress(stage, done, 2, "", {"loss": 1.0 / done}))
    print(f"{stage} of {job.name} says hello")
    if stage == "train" and (folder.path / "stop").exists():
        (folder.path / "stop").unlink()
        raise Preempted("the run was asked to leave and is saved")
    if named(runs / "fail", stage, job):
        raise UserError("a made-up failure", found=job.name, expected="nothing else")
    if named(runs / "die", stage, job):
        os.kill(os.getpid(), signal.SIGKILL)
    leave_output(folder, stage)
    note(folder, stage, job, "end")


def save_when_asked(folder: RunFolder, job: Job) -> None:
    """A training that goes on until a signal asks it to leave, and saves."""
    with Stop() as stop:
        note(folder, "train", job, "ready")
        while not stop.reason:
            time.sleep(0.02)
    time.sleep(0.5)
    note(folder, "train", job, "saved")
    error = Preempted("the run was asked to leave and is saved")
    error.signum = stop.signum
    raise error


def wait_for_workers(history: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len({line.split()[-1] for line in history.read_text().splitlines()}) < count:
        assert time.monotonic() < deadline, "the others have not begun"
        time.sleep(0.02)


def named(path: Path, stage: str, job: Job) -> bool:
    return path.exists() and f"{job.name} {stage}" in path.read_text().splitlines()


def train(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    work("train", job, folder, report)


def sample(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    work("sample", job, folder, report)


def evaluate(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    work("evaluate", job, folder, report)


def noting_settings(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    (folder.roots.runs / "settings.json").write_bytes(msgspec.json.encode([settings.training, settings.sampling]))
    train(job, folder, settings, report)


STAGES = {"train": train, "sample": sample, "evaluate": evaluate}
