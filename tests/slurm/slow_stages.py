"""Stages without torch for jobs: they note each start and end, draw samples by range, and can fail, wait or be slow."""

from __future__ import annotations

import os
import signal
import time

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, read_json, write_json
from hdit_repro.jobs import Job
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.schema import digest_of
from hdit_repro.stages.settings import Progress, Report, Settings

MADE_UP = {"made": "up", "digest": digest_of({"made": "up"})}
"""A measurement that passes for a whole one."""


def note(folder: RunFolder, text: str) -> None:
    handle = os.open(folder.roots.runs / "history.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def work(stage: str, job: Job, folder: RunFolder, report: Report, extra: str = "") -> None:
    """Ticks of 0.2 s, as many as `ticks.json` says for this row and stage; then `die`, `fail` and `flaky`."""
    name = f"{job.name} {stage}{extra}"
    note(folder, f"start {name} {os.environ.get('SLURM_JOB_ID')} {os.environ.get('SLURMD_NODENAME')}")
    ticks = listed(folder, "ticks").get(f"{job.name} {stage}", 1)
    for done in range(1, ticks + 1):
        time.sleep(0.2)
        report(Progress(stage, done, ticks, "", {"loss": 1.0}))
    if f"{job.name} {stage}" in listed(folder, "die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if f"{job.name} {stage}" in listed(folder, "fail"):
        raise UserError("a request that cannot be", found=job.name, expected="another")
    if f"{job.name} {stage}" in listed(folder, "flaky"):
        raise RunError("the same made-up trouble", found=job.name, expected="none")
    note(folder, f"end {name}")


def listed(folder: RunFolder, file: str) -> dict[str, int]:
    path = folder.roots.runs / f"{file}.json"
    return read_json(path) if path.exists() else {}


def train(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    work("train", job, folder, report)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    (folder.checkpoints / "step.safetensors").write_bytes(b"x")
    marker = {"file": "step.safetensors", "sha256": "0", "step": 1, "run": folder.run.training_id}
    write_json(folder.final_marker, marker)


def sample(job: Job, folder: RunFolder, settings: Settings, report: Report, numbers: range | None = None) -> None:
    wanted = range(job.run.sampling.count) if numbers is None else numbers
    work("sample", job, folder, report, f" {wanted.start}-{wanted.stop}")
    with lock(folder.samples / "manifest.lock"):
        shards = read_json(folder.manifest)["shards"] if folder.manifest.exists() else []
        (folder.samples / f"shard-{wanted.start}").touch()
        shards.append({"file": f"shard-{wanted.start}", "first": wanted.start, "count": len(wanted)})
        complete = sum(shard["count"] for shard in shards) == job.run.sampling.count
        write_json(folder.manifest, {"shards": shards, "complete": complete})


def evaluate(job: Job, folder: RunFolder, settings: Settings, report: Report) -> None:
    work("evaluate", job, folder, report)
    write_json(folder.record, MADE_UP)


STAGES = {"train": train, "sample": sample, "evaluate": evaluate}
