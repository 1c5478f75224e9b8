"""Submit what is missing and not queued as one graph. The journal is written around each step."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import RunError
from hdit_repro.files import lock
from hdit_repro.jobs import Job
from hdit_repro.launch.describe import describe
from hdit_repro.launch.graph import Task, required
from hdit_repro.launch.job import StageFunction
from hdit_repro.launch.part import drawn
from hdit_repro.launch.plan import Stage, make_plan, tasks_for
from hdit_repro.launch.slurm import journal, preflight, queue
from hdit_repro.launch.slurm.coverage import Coverage, cover
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.graph import Element, Group, Resources, graph
from hdit_repro.launch.slurm.job import StageJob
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.render import RenderJob
from hdit_repro.launch.slurm.script import Places, dependency, parameters, whole_arrays
from hdit_repro.launch.slurm.snapshot import Code, look, take
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings

HANDED_ON = ("HDIT_REPRO_CACHE", "HDIT_REPRO_DATA")
"""Variables of the submitter that jobs need, whatever the site does to their environment."""

SETTLING = 5.0
"""Seconds after which an sbatch whose caller was killed has come to its end."""

RENDER = Resources(nodes=1, tasks=1, gpus=0, minutes=30, time_outs=3)


class Draft(NamedTuple):
    """A submission as it would be made: its name, its groups in order, the code that it would run, what is open."""

    session: str
    jobs: tuple[Job, ...]
    left: tuple[Task, ...]
    groups: tuple[Group, ...]
    plan: tuple[Stage, ...]
    covered: Coverage
    code: Code
    roots: Roots
    profile: Slurm

    @property
    def places(self) -> Places:
        session = journal.folder(self.roots, self.session)
        return Places(session, self.code.path, self.roots.results.parent, self.roots.runs)

    @property
    def elements(self) -> list[Element]:
        return [element for group in self.groups for element in group.elements]

    @property
    def gpu_hours(self) -> float:
        """Of what is new; what is queued already was submitted before."""
        keys = {task.key for element in self.elements for task in element.tasks}
        return sum(stage.gpu_hours for stage in self.plan if stage.key in keys)

    @property
    def disk(self) -> int:
        keys = {task.key for element in self.elements for task in element.tasks}
        return sum(stage.disk for stage in self.plan if stage.key in keys)


class Script(NamedTuple):
    """A unit's script, and what would be said to sbatch besides."""

    name: str
    kind: str
    size: int
    arguments: tuple[str, ...]
    text: str


class Submitted(NamedTuple):
    """How many stages were open and in the queue already, and the ids of the new jobs."""

    open: int
    queued: int
    job_ids: tuple[str, ...]
    session: str


def draft(
    jobs: Sequence[Job], roots: Roots, profile: Slurm, listed: Mapping[str, queue.Queued], *, allow_dirty: bool
) -> Draft:
    """What a submission would do. Reads the disk; writes nothing and asks no scheduler.

    Args:
        jobs: the rows.
        roots: the workplace.
        profile: the cluster.
        listed: the queue.
        allow_dirty: whether the code may have changes that no commit holds.

    Raises:
        UserError: the code has such changes and may not.
    """
    tasks = tasks_for(jobs, roots)
    plan = make_plan(jobs, roots, profile)
    left = required(tasks)
    covered = coverage_of(tasks, roots, listed)
    groups = graph(left, {stage.key: stage for stage in plan}, covered, profile)
    session = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    code = look(roots, allow_dirty=allow_dirty)
    return Draft(session, tuple(jobs), tuple(left), tuple(groups), tuple(plan), covered, code, roots, profile)


def coverage_of(tasks: Sequence[Task], roots: Roots, listed: Mapping[str, queue.Queued]) -> Coverage:
    """What the queue will make of some tasks. Stages of other experiments count as made: theirs is not judged here."""
    folders = {task.key: task for task in tasks}

    def done(key: str, numbers: tuple[int, int] | None) -> bool:
        task = folders.get(key)
        if task is None or task.folder.done(task.stage):
            return True
        return numbers is not None and drawn(task.folder).issuperset(range(*numbers))

    return cover(journal.journals(roots), listed, done)


def scripts(planned: Draft) -> list[Script]:
    """The exact scripts of a draft; what they wait for is named, since ids are not known yet."""
    found = []
    for number, group in enumerate(planned.groups):
        text = _executor(planned, group, number).text
        after = dependency("afterok", [_word(name) for name in group.after])
        found.append(Script(_name(planned, group, number), group.kind, len(group.elements), tuple(after), text))
    if planned.groups:
        waits = [script.name for script in found]
        text = _render_executor(planned, []).text
        found.append(Script(_render_name(planned), "render", 1, tuple(dependency("afterany", waits)), text))
    return found


def submit(
    jobs: Sequence[Job],
    roots: Roots,
    profile: Slurm,
    *,
    render: Sequence[str],
    allow_dirty: bool = False,
    confirm: Callable[[Draft], None] | None = None,
    stages: Mapping[str, StageFunction] | None = None,
) -> Submitted:
    """Submit what is missing and not queued; all of it, or nothing.

    Args:
        jobs: the rows.
        roots: the workplace.
        profile: the cluster.
        render: the command that renders the tables at the end, without its interpreter.
        allow_dirty: whether the code may have changes that no commit holds.
        confirm: gets the draft before anything is submitted, and raises where it is not to be.
        stages: what runs each stage; None is the suite's own.

    Raises:
        UserError: the site, the profile, the folders or the code do not allow it; nothing was submitted.
        RunError: sbatch refused half-way; what was submitted has been cancelled.
    """
    preflight.check_site(profile)
    roots.runs.mkdir(parents=True, exist_ok=True)
    with lock(roots.runs / "submissions" / "submit.lock"):
        listed = recover(roots)
        planned = draft(jobs, roots, profile, listed, allow_dirty=allow_dirty)
        waiting = sum(bool(planned.covered.jobs(task.key)) for task in planned.left)
        if not planned.groups:
            return Submitted(len(planned.left), waiting, (), "")
        preflight.check_cap(profile, len(listed), len(planned.elements) + 1)
        preflight.check_room(roots.runs, planned.disk)
        for script in {script.kind: script for script in scripts(planned)}.values():
            preflight.try_script(script.text)
        if confirm is not None:
            confirm(planned)
        queue.scancel(planned.covered.doomed)
        _prepare(planned)
        ids = _act(planned, tuple(render), stages)
        return Submitted(len(planned.left), waiting, tuple(ids), planned.session)


def recover(roots: Roots) -> dict[str, queue.Queued]:
    """Bring submissions whose submitter ended half-way into a known state, and return the queue.

    What has an id goes on, and is built upon; what was submitted without its id having been written is cancelled.
    """
    known = journal.journals(roots)
    lost = journal.strays(known)
    if any(entry.state == "open" for entry in known):
        time.sleep(max(0.0, SETTLING - journal.age(roots, known[-1])))
    listed = queue.squeue()
    stray = sorted({job.id.partition("_")[0] for job in listed.values() if job.name in lost})
    queue.scancel(stray)
    for entry in known:
        if entry.state == "open":
            entry.state = "whole" if any(unit.job_id for unit in entry.units) else "cancelled"
            journal.save(roots, entry)
    return {job_id: job for job_id, job in listed.items() if job_id.partition("_")[0] not in stray}


def _prepare(planned: Draft) -> None:
    """The submission's folder with the job files of this moment, the code, and run.json of each run."""
    take(planned.code)
    session = planned.places.session
    session.mkdir(parents=True)
    if (Path.cwd() / "jobs").is_dir():
        shutil.copytree(Path.cwd() / "jobs", session / "jobs")
    keys = {task.key for element in planned.elements for task in element.tasks}
    used = [job for job in planned.jobs if any(job in task.jobs for task in planned.left if task.key in keys)]
    describe(used, planned.roots, planned.code.source)


def _act(planned: Draft, render: tuple[str, ...], stages: Mapping[str, StageFunction] | None) -> list[str]:
    """Submit the groups in order, then the render. Whatever goes wrong, nothing of it stays in the queue."""
    entry = _entry(planned)
    journal.save(planned.roots, entry)
    ids: dict[str, str] = {}
    try:
        for number, group in enumerate(planned.groups):
            after = [ids.get(name, name) for name in group.after]
            unit = entry.units[number]
            unit.elements = tuple(
                Noted(stages=noted.stages, numbers=noted.numbers, after=tuple(after)) for noted in unit.elements
            )
            sizes = {other.job_id: len(other.elements) for other in entry.units if other.job_id}
            executor = _executor(planned, group, number, dependency("afterok", whole_arrays(after, sizes)))
            _submit_unit(planned, entry, unit, executor, [_function(planned, one, stages) for one in group.elements])
            ids |= {element.name: unit.id_of(place) for place, element in enumerate(group.elements)}
        last = entry.units[-1]
        waits = [unit.job_id for unit in entry.units[:-1]]
        executor = _render_executor(planned, dependency("afterany", waits))
        _submit_unit(planned, entry, last, executor, [RenderJob(render)])
    except BaseException:
        _undo(planned, entry)
        raise
    entry.state = "whole"
    journal.save(planned.roots, entry)
    return [unit.job_id for unit in entry.units]


def _submit_unit(
    planned: Draft, entry: Journal, unit: Unit, executor: Executor, functions: Sequence[Callable[[], object]]
) -> None:
    unit.begun = True
    journal.save(planned.roots, entry)
    unit.job_id = executor.submit_unit(functions)
    journal.save(planned.roots, entry)


def _undo(planned: Draft, entry: Journal) -> None:
    """Cancel what was submitted of a graph that failed half-way, the unit without an id found by its name."""
    try:
        by_name = [
            job.id.partition("_")[0] for job in queue.squeue().values() if job.name in {u.name for u in entry.units}
        ]
        queue.scancel(sorted({*by_name, *(unit.job_id for unit in entry.units if unit.job_id)}))
    except RunError:
        return  # the journal stays open: the next call finds what is left
    entry.state = "cancelled"
    journal.save(planned.roots, entry)


def _entry(planned: Draft) -> Journal:
    units = [
        Unit(
            name=_name(planned, group, number),
            kind=group.kind,
            gpus=group.resources.all_gpus,
            hours=sum(element.hours for element in group.elements),
            elements=tuple(_noted(element) for element in group.elements),
        )
        for number, group in enumerate(planned.groups)
    ]
    units.append(
        Unit(name=_render_name(planned), kind="render", gpus=0, hours=0.0, elements=(Noted(stages=("render",)),))
    )
    rows = [[job.name, job.run.seed] for job in planned.jobs]
    request = {"experiment": planned.jobs[0].experiment, "scale": planned.jobs[0].scale, "rows": rows}
    return Journal(
        session=planned.session, cluster=planned.profile.name, request=request, code=planned.code.path.name, units=units
    )


def _noted(element: Element) -> Noted:
    numbers = None if element.numbers is None else (element.numbers.start, element.numbers.stop)
    return Noted(stages=tuple(task.key for task in element.tasks), numbers=numbers, after=element.after)


def _function(planned: Draft, element: Element, stages: Mapping[str, StageFunction] | None) -> StageJob:
    settings = Settings(threads=planned.profile.cpus_per_gpu, batch=planned.profile.sample_batch)
    gpus, packed = element.resources.all_gpus, element.kind == "pack"
    return StageJob(element.tasks, planned.session, settings, gpus, element.numbers, packed, stages)


def _executor(planned: Draft, group: Group, number: int, after: Sequence[str] = ()) -> Executor:
    return _make(planned, group.kind, group.resources, _name(planned, group, number), len(group.elements), after)


def _render_executor(planned: Draft, after: Sequence[str]) -> Executor:
    return _make(planned, "render", RENDER, _render_name(planned), 1, after)


def _make(planned: Draft, kind: Any, resources: Resources, name: str, size: int, after: Sequence[str]) -> Executor:
    profile = planned.profile
    variables = {name: str(Path(os.environ[name]).resolve()) for name in HANDED_ON if os.environ.get(name)}
    wanted = parameters(profile, kind, resources, name, planned.places, variables)
    return Executor(
        planned.places.session,
        wanted,
        size,
        time_outs=resources.time_outs,
        python=profile.python or sys.executable,
        omit=profile.omit,
        after=after,
    )


def _name(planned: Draft, group: Group, number: int) -> str:
    """A name that no other job has, by which a job without a known id can be found."""
    return f"{planned.jobs[0].experiment}-{group.kind}-{planned.session}-{number}"


def _render_name(planned: Draft) -> str:
    return f"{planned.jobs[0].experiment}-render-{planned.session}"


def _word(name: str) -> str:
    """What a script waits for, while its id is not known."""
    return name if name[:1].isdigit() else f"<{name}>"
