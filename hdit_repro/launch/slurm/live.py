"""What queue and accounts add to what the disk tells of the stages: waiting, running, gone, paid. No torch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.launch.clusters import Cluster, read_cluster
from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import Part, drawn
from hdit_repro.launch.price import price
from hdit_repro.launch.progress import read_failure, read_progress
from hdit_repro.launch.slurm import attempts, journal, queue
from hdit_repro.launch.slurm.coverage import Coverage, InQueue, cover, span
from hdit_repro.launch.slurm.journal import Journal
from hdit_repro.launch.status import Row, last_line
from hdit_repro.records.layout import Roots

FRESH = 120.0
"""Seconds after its last word for which a stage counts as running, since locks of other machines may not be seen."""


class Sent(NamedTuple):
    """One element that was submitted for a stage: its id, the samples it draws, its submission and cluster."""

    id: str
    numbers: tuple[int, int] | None
    session: str
    cluster: str


@dataclass
class Live:
    """The journals held against the queue and the disk, for some stages."""

    roots: Roots
    sent: dict[str, list[Sent]]
    covered: Coverage
    asked: bool
    ends: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, Cluster | None] = field(default_factory=dict)
    files: dict[Path, set[str]] = field(default_factory=dict)


def look(roots: Roots, tasks: Sequence[Task]) -> Live | None:
    """Read journals, and ask the queue where there is one; None where nothing was ever submitted to SLURM."""
    known = journal.journals(roots)
    if not known:
        return None
    listed: Mapping[str, queue.Queued] = {}
    asked = False
    if queue.present():
        with contextlib.suppress(UserError):
            listed, asked = queue.squeue(), True
    folders = {task.key: task for task in tasks}

    def done(key: str, numbers: tuple[int, int] | None) -> bool:
        task = folders.get(key)
        if task is None or task.folder.done(task.stage):
            return True
        return numbers is not None and drawn(task.folder).issuperset(range(*numbers))

    live = Live(roots, _sent(known), cover(known, listed, done), asked)
    open_ids = [sent.id for task in tasks for sent in live.sent.get(task.key, ())[-1:] if _may_be_lost(task, live)]
    live.ends = queue.ended(open_ids) if asked else {}
    return live


def overlay(live: Live, tasks: Sequence[Task], rows: Sequence[Row]) -> list[Row]:
    """The rows with what the queue knows: "queued", why, why a job is gone, GPU-hours paid and planned."""
    return [_overlaid(live, task, row) for task, row in zip(tasks, rows, strict=True)]


def parts(live: Live, task: Task) -> list[Part]:
    """The stage as a whole, and those ranges of it that were submitted singly and have left files."""
    folder = task.folder.path / "state"
    if folder not in live.files:
        live.files[folder] = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208
    spans = dict.fromkeys(sent.numbers for sent in live.sent.get(task.key, ()) if sent.numbers)
    ranges = (Part(task.folder, task.stage, range(*numbers)) for numbers in spans)
    names = live.files[folder]
    return [Part(task.folder, task.stage), *(part for part in ranges if f"{part.name}.attempts.json" in names)]


def _sent(known: Iterable[Journal]) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = {}
    for entry in known:
        for unit in entry.units:
            for place, element in enumerate(unit.elements if unit.job_id else ()):
                for key in element.stages:
                    sent = Sent(unit.id_of(place), span(element, key), entry.session, entry.cluster)
                    found.setdefault(key, []).append(sent)
    return found


def _may_be_lost(task: Task, live: Live) -> bool:
    return not live.covered.jobs(task.key) and task.ready and not task.folder.done(task.stage)


def _overlaid(live: Live, task: Task, row: Row) -> Row:
    sent = live.sent.get(task.key)
    if not sent:
        return row
    found = parts(live, task)
    paid = sum(attempt.gpu_hours for part in found for attempt in _paid(part))
    row = row._replace(gpu_hours=paid, planned_gpu_hours=_planned(live, task, sent[-1].cluster))
    if row.state == "done":
        return row
    row = _drawing(row, task, found)
    waiting = live.covered.jobs(task.key)
    if waiting:
        state = "running" if row.state == "running" or _runs(task, waiting, found) else "queued"
        return row._replace(state=state, queue=queue_words(waiting), error="")
    if row.state == "running" or not live.asked:
        return row
    why = _why(live, task, sent[-1], found)
    return row._replace(state="failed", error=why) if why else row


def _runs(task: Task, waiting: Sequence[InQueue], found: Sequence[Part]) -> bool:
    """Whether a stage is being run: its element's first, or one that spoke lately."""
    began = any(not one.job.waits and one.noted.stages[0] == task.key for one in waiting)
    return began or any(time.time() - read_progress(part.progress).time < FRESH for part in found)


def _drawing(row: Row, task: Task, found: Sequence[Part]) -> Row:
    """Sampling in shards: what the manifest holds, at the pace of all shards that run."""
    if task.stage != "sample" or len(found) == 1:
        return row
    seen = [read_progress(part.progress) for part in found[1:] if part.state == "running"]
    rate = sum(one.values.get("images_per_s", 0.0) for one in seen) or None
    total = task.job.run.sampling.count
    done = len(drawn(task.folder))
    left = (total - done) / rate if rate else None
    state = "running" if seen else row.state
    return row._replace(state=state, done=done, total=total, images_per_second=rate, seconds_left=left)


def queue_words(waiting: Sequence[InQueue]) -> str:
    """ "2 running, 3 pending (Resources)"."""
    states: dict[str, int] = {}
    for element in waiting:
        job = element.job
        word = f"{job.state.lower()} ({job.reason})" if job.waits and job.reason != "None" else job.state.lower()
        states[word] = states.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in states.items())


def _why(live: Live, task: Task, sent: Sent, found: Sequence[Part]) -> str:
    """Why a stage that is not done is in the queue no more; empty where it never had its turn."""
    for part in found:
        if error := last_line(str(read_failure(part.failure).get("error", ""))):
            return error
    if not task.ready:
        return ""
    ended = live.ends.get(sent.id) or live.ends.get(sent.id.partition("_")[0], "")
    said = _last_said(journal.folder(live.roots, sent.session), sent.id)
    return "; ".join(filter(None, (f"job {sent.id} {ended.lower()}".strip() + " without a result", said)))


def _last_said(folder: Path, job_id: str) -> str:
    """The last line that a job printed to its own stderr."""
    path = folder / f"{job_id}_0_log.err"
    with contextlib.suppress(OSError):
        return last_line(path.read_text(encoding="utf-8", errors="replace"))
    return ""


def _paid(part: Part) -> list[attempts.Attempt]:
    """A part's attempts, the one that goes on counted until now, or until it was last heard of."""
    found = attempts.read(part.attempts)
    if found and not found[-1].why:
        heard = read_progress(part.progress).time
        found[-1].ended = time.time() if part.state == "running" else max(found[-1].began, heard)
    return found


def _planned(live: Live, task: Task, name: str) -> float | None:
    if name not in live.clusters:
        live.clusters[name] = None
        with contextlib.suppress(UserError):
            live.clusters[name] = read_cluster(name)
    cluster = live.clusters[name]
    return None if cluster is None else price(task.job.run, task.stage, task.job.scale, cluster).gpu_hours
