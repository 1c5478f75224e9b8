"""What queue and accounts add to what the disk tells of the stages: waiting, running, gone, paid. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.launch.bills import Bills
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import Part, drawn, state_of
from hdit_repro.launch.progress import LEFT, read_failure, read_progress
from hdit_repro.launch.slurm import attempts, journal, queue
from hdit_repro.launch.slurm.coverage import Coverage, InQueue, cover, made, span
from hdit_repro.launch.slurm.journal import Journal
from hdit_repro.launch.status import Row, in_a_line, status_of
from hdit_repro.records.layout import Roots

FRESH = 120.0
"""Seconds after its last word for which a stage counts as running, since locks of other machines may not be seen."""


SETTLES = 60.0
"""Seconds after a stage's last word in which its job says the rest of its own; SLURM starts none again as soon."""


UNSEEN = 60.0
"""Seconds for which a file server may hide from this machine what a job on another has written: NFS believes for so
long that a file which was looked for and missed is still not there."""


class Sent(NamedTuple):
    """One element that was submitted for a stage: its id, the samples it draws, its submission, cluster and kind."""

    id: str
    numbers: tuple[int, int] | None
    session: str
    cluster: str
    kind: str


@dataclass
class Live:
    """Some stages as the disk and the queue tell of them.

    Attributes:
        roots: the workplace.
        rows: a row a stage, in order: what the disk says, and where something was submitted to SLURM, what the queue
            knows: "queued", why, why a job is gone, GPU-hours paid and planned.
        sent: by stage key, every element that was ever submitted for it, oldest first.
        covered: what is in the queue.
        asked: whether the queue could be asked, or need not be.
        away: submissions to another SLURM, whose queue cannot be asked here, and what that calls its cluster.
        damaged: lists of attempts that are, so that GPU-hours are missing.
    """

    roots: Roots
    rows: list[Row]
    sent: dict[str, list[Sent]]
    covered: Coverage
    asked: bool
    away: dict[str, str] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    owing: dict[str, Sent] = field(default_factory=dict)
    bills: dict[str, Bills | None] = field(default_factory=dict)
    files: dict[Path, set[str]] = field(default_factory=dict)

    @property
    def going(self) -> bool:
        """Whether any stage runs or waits for its turn; a queue that does not answer for a while may hold some."""
        return any(row.state in ("running", "queued") for row in self.rows) or (not self.asked and queue.present())

    @property
    def pause(self) -> float:
        """Seconds before a command that goes on looking looks again; 0 where that asks no scheduler."""
        return queue.POLITE if self.sent and queue.present() else 0.0


def look(
    roots: Roots,
    tasks: Sequence[Task],
    *,
    sure: bool = False,
    refused: journal.Refused | None = None,
) -> Live:
    """Read the disk, and ask the queue where there is one and something was ever submitted to it.

    Args:
        roots: the workplace.
        tasks: the stages.
        sure: whether a queue that cannot be asked is an error; else `asked` says so.
        refused: as of `journal.journals`.

    Raises:
        PermissionError: a file of a stage may not be read, or a journal, and `refused` is None.
        UserError: with `sure`, there is no SLURM here, or it does not answer.
    """
    rows, known = status_of(tasks), journal.journals(roots, refused)
    if not known:
        return Live(roots, rows, {}, Coverage(), True)
    listed: Mapping[str, queue.Queued] = {}
    asked = False
    if sure or queue.present():
        try:
            listed, asked = queue.squeue(journal.submitters(roots)), True
        except UserError:
            if sure:
                raise
    done = {task.key for task, row in zip(tasks, rows, strict=True) if row.state == "done"}
    live = Live(roots, rows, _sent(known), cover(known, listed, made(tasks, lambda task: task.key in done)), asked)
    live.away = journal.elsewhere(known) if asked else {}
    live.owing = {
        task.key: _owing(task, live.sent[task.key])
        for task in tasks
        if task.key in live.sent and _may_be_lost(live, task, done)
    }
    live.ends = queue.ended(sent.id for sent in live.owing.values()) if asked else {}
    live.rows = [_overlaid(live, task, row, done) for task, row in zip(tasks, rows, strict=True)]
    return live


def parts(live: Live, task: Task) -> list[Part]:
    """The stage as a whole, and those ranges of it that were submitted singly and have left files."""
    folder = task.folder.path / "state"
    if folder not in live.files:
        live.files[folder] = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208
    spans = dict.fromkeys(sent.numbers for sent in live.sent.get(task.key, ()) if sent.numbers)
    ranges = (Part(task.folder, task.stage, range(*numbers)) for numbers in spans)
    names = live.files[folder]
    return [Part(task.folder, task.stage), *(part for part in ranges if f"{part.name}.attempts.json" in names)]


def unheard(roots: Roots, tasks: Iterable[Task]) -> list[Path]:
    """What the latest jobs of stages printed themselves, where the stages know nothing of the job's latest start: its
    Python may never have begun. The queue is not asked."""
    known = journal.journals(roots, refused=lambda _: None)
    sent, heard, ended = _sent(known), dict[Path, float](), dict[Path, bool]()
    for task in tasks:
        if task.key not in sent:
            continue
        last = sent[task.key][-1]
        until = _heard(task, last)
        for stream in ("out", "err"):
            path = journal.output(journal.folder(roots, last.session), last.id, stream)
            heard[path] = max(heard.get(path, 0.0), until)
            ended[path] = ended.get(path, True) and task.folder.done(task.stage)
    return [path for path, until in heard.items() if not ended[path] and _written(path) > until + SETTLES]


def _heard(task: Task, sent: Sent) -> float:
    """Until when a stage told of a job, in Unix seconds: without end while it runs, 0 where it knows nothing of it.
    Of one that was killed its job alone knows, at once."""
    if state_of(task.folder, task.stage) == "running":
        return math.inf
    state = task.folder.path / "state"
    times = [0.0]
    for name in (task.key, *(path.name.removesuffix(".lock") for path in state.glob(f"{task.key}.*-*.lock"))):
        mine = [one for one in attempts.read(state / f"{name}.attempts.json") if one.job == sent.id]
        for one in mine:
            last = one.ended or max(one.began, read_progress(state / f"{name}.progress.json").time)
            times.append(last - SETTLES if one.why in ("", attempts.SILENT) else last)
        failure = read_failure(state / f"{name}.failure.json")
        if failure.get("owner") == f"{sent.session}/{sent.id}":
            times.append(float(failure.get("time", 0.0)))
    return max(times)


def _written(path: Path) -> float:
    """When a file was last written, in Unix seconds; 0 where it is not to be seen."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _sent(known: Iterable[Journal]) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = {}
    for entry in known:
        for unit in entry.units:
            for place, element in enumerate(unit.elements if unit.job_id else ()):
                for key in element.stages:
                    sent = Sent(unit.id_of(place), span(element, key), entry.session, entry.cluster, unit.kind)
                    found.setdefault(key, []).append(sent)
    return found


def _may_be_lost(live: Live, task: Task, done: set[str]) -> bool:
    """Whether a stage had its turn, has no output, and is in the queue no more."""
    return task.key not in done and _ready(task, done) and not live.covered.jobs(task.key)


def _ready(task: Task, done: set[str]) -> bool:
    return task.before is None or task.folder.stage_key(task.before) in done


def _owing(task: Task, sent: Sequence[Sent]) -> Sent:
    """The element that a lost stage hung on last: of samples, one whose range is not drawn; of what several elements
    come to, the one of the latest submission that last began it."""
    if task.stage == "sample":
        there = drawn(task.folder)
        hung = [one for one in sent if one.numbers is None or not there.issuperset(range(*one.numbers))]
    else:
        began = [(one.session, one.job) for one in attempts.read(Part(task.folder, task.stage).attempts)[-1:]]
        hung = [one for one in sent if one.session == sent[-1].session and (one.session, one.id) in began]
    return (hung or sent)[-1]


def _overlaid(live: Live, task: Task, row: Row, done: set[str]) -> Row:
    sent = live.sent.get(task.key)
    if not sent:
        return row
    found = parts(live, task)
    live.damaged += [part.attempts for part in found if attempts.is_damaged(part.attempts)]
    paid = sum(attempt.gpu_hours for part in found for attempt in _paid(part))
    row = row._replace(gpu_hours=paid, planned_gpu_hours=_planned(live, task, sent[-1].cluster))
    if row.state == "done":
        return row
    row = _drawing(row, task, found)
    waiting = live.covered.jobs(task.key)
    if waiting:
        state = "running" if row.state == "running" or _runs(task, waiting, found) else "queued"
        return row._replace(state=state, queue=queue_words(waiting), error="")
    if site := live.away.get(sent[-1].session):
        return row._replace(queue=row.queue or f"sent to {site}, whose queue is not asked here")
    if row.state == "running" or not live.asked:
        return row
    if task.key in live.owing and _ended_well(task, live.owing[task.key]):
        return row._replace(state="running", queue="ended well, and its output cannot be seen from here yet")
    why = _why(live, task, found, _ready(task, done))
    return row._replace(state="failed", error=why) if why else row


def _runs(task: Task, waiting: Sequence[InQueue], found: Sequence[Part]) -> bool:
    """Whether a stage is being run: the first of an element that runs, or another of it that spoke lately."""
    began = [one for one in waiting if not one.job.waits]
    spoke = any(time.time() - read_progress(part.progress).time < FRESH for part in found)
    return any(spoke or one.noted.stages[0] == task.key for one in began)


def _ended_well(task: Task, sent: Sent) -> bool:
    """Whether a stage without output said so a moment ago: a file that is replaced is seen before one that is new."""
    last = attempts.read(Part(task.folder, task.stage, range(*sent.numbers) if sent.numbers else None).attempts)[-1:]
    return any(one.why == "done" and time.time() - one.ended < UNSEEN for one in last)


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


def _why(live: Live, task: Task, found: Sequence[Part], ready: bool) -> str:
    """Why a stage that is not done is in the queue no more; empty where it never had its turn."""
    sent = live.owing.get(task.key, live.sent[task.key][-1])
    for part in found:
        failure, seen = read_failure(part.failure), read_progress(part.progress)
        error = in_a_line(str(failure.get("error", "")))
        if error and _stands(live, task, sent, str(failure.get("owner", "")), failure.get("time")):
            return error
        if seen.note == LEFT and _stands(live, task, sent, seen.owner, seen.time):
            return LEFT
    if not ready:
        return ""
    ended = live.ends.get(sent.id) or live.ends.get(sent.id.partition("_")[0], "")
    gone = f"{ended.lower()} without a result" if ended else "is in the queue no more and left no result"
    said = journal.last_said(journal.folder(live.roots, sent.session), sent.id)
    return "; ".join(filter(None, (f"job {sent.id} {gone}", said)))


def _stands(live: Live, task: Task, sent: Sent, owner: str, when: object) -> bool:
    """Whether what a stage said is its latest word: of no submission before `sent`'s, and of no start of its job after
    which the job itself has said why there is no other. A pack's job says more, of other rows."""
    if not isinstance(when, int | float):
        return True
    if owner.partition("/")[0] != sent.session and when < journal.began(sent.session):
        return False
    own = _written(journal.output(journal.folder(live.roots, sent.session), sent.id, "err"))
    return sent.kind == "pack" or own <= max(when, _heard(task, sent)) + SETTLES


def _paid(part: Part) -> list[attempts.Attempt]:
    """A part's attempts, the one that goes on counted until now, or until it was last heard of."""
    found = attempts.read(part.attempts)
    if found and not found[-1].why:
        heard = read_progress(part.progress).time
        found[-1].ended = time.time() if part.state == "running" else max(found[-1].began, heard)
    return found


def _planned(live: Live, task: Task, name: str) -> float | None:
    """GPU-hours by the profile of the cluster; None where that is gone."""
    if name not in live.bills:
        live.bills[name] = None
        with contextlib.suppress(UserError):
            live.bills[name] = Bills(read_cluster(name))
    bills = live.bills[name]
    return None if bills is None else bills.of(task.job, task.stage).price.gpu_hours
