"""A submission as it would be made: what is missing and not queued, as groups, scripts, a journal. Submits nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hdit_repro.files import cache_folder
from hdit_repro.jobs import Job
from hdit_repro.launch.graph import Task, required, tasks_for
from hdit_repro.launch.lost import refuse_lost
from hdit_repro.launch.plan import Stage, make_plan
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.bill import held
from hdit_repro.launch.slurm.coverage import Coverage, cover, made
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.graph import Element, Group, Kind, Resources, graph
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.script import Places, dependency, omitted, parameters
from hdit_repro.launch.slurm.shares import check_shares
from hdit_repro.launch.slurm.snapshot import Code, look
from hdit_repro.machine import NEIGHBORHOOD, asked_backend
from hdit_repro.records.layout import Roots

PLACES = ("HDIT_REPRO_CACHE", "HDIT_REPRO_DATA")
CHOICES = (NEIGHBORHOOD, "HDIT_REPRO_OFFLINE")
"""Variables of the submitter that jobs need, whatever the site does to their environment."""

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
        return held(self.elements, {stage.key: stage for stage in self.plan})

    @property
    def disk(self) -> int:
        keys = {task.key for element in self.elements for task in element.tasks}
        return sum(stage.disk_left for stage in self.plan if stage.key in keys)


class Script(NamedTuple):
    """A unit's script, and what would be said to sbatch besides."""

    name: str
    kind: str
    size: int
    arguments: tuple[str, ...]
    text: str


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
        UserError: the code has such changes and may not, a training's GPUs do not divide its batch, or an imported
            checkpoint is not here.
    """
    tasks = tasks_for(jobs, roots)
    plan = make_plan(jobs, roots, profile)
    left = required(tasks)
    refuse_lost(left)
    costs = {stage.key: stage for stage in plan}
    check_shares(left, plan, profile)
    covered = coverage_of(tasks, roots, listed)
    groups = graph(left, costs, covered, profile)
    session = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
    code = look(roots, allow_dirty=allow_dirty)
    return Draft(session, tuple(jobs), tuple(left), tuple(groups), tuple(plan), covered, code, roots, profile)


def coverage_of(tasks: Sequence[Task], roots: Roots, listed: Mapping[str, queue.Queued]) -> Coverage:
    """What the queue will make of some tasks."""
    return cover(journal.journals(roots), listed, made(tasks, lambda task: task.folder.done(task.stage)))


def scripts(planned: Draft) -> list[Script]:
    """The exact scripts of a draft; what they wait for is named, since ids are not known yet."""
    found = []
    for number, group in enumerate(planned.groups):
        text = executor_of(planned, group, number).text
        after = dependency("afterok", [_word(name) for name in group.after])
        found.append(Script(_name(planned, group, number), group.kind, len(group.elements), tuple(after), text))
    if planned.groups:
        waits = [script.name for script in found]
        text = render_executor(planned, []).text
        found.append(Script(_render_name(planned), "render", 1, tuple(dependency("afterany", waits)), text))
    return found


def journal_of(planned: Draft) -> Journal:
    """What the journal says before the first call of sbatch."""
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


def handed_on() -> dict[str, str]:
    """The submitter's variables that jobs need, places as absolute paths.

    Raises:
        UserError: one names what is not there, which jobs would find out after their wait.
    """
    asked_backend()
    said = {name: os.environ[name] for name in (*PLACES, *CHOICES) if os.environ.get(name)}
    if os.environ.get("XDG_CACHE_HOME"):
        said.setdefault(PLACES[0], str(cache_folder()))
    return {name: str(Path(value).resolve()) if name in PLACES else value for name, value in said.items()}


def executor_of(planned: Draft, group: Group, number: int, after: Sequence[str] = ()) -> Executor:
    """What submits a group, the draft's number `number`, once what it waits for has ids."""
    return _make(planned, group.kind, group.resources, _name(planned, group, number), len(group.elements), after)


def render_executor(planned: Draft, after: Sequence[str]) -> Executor:
    """What submits the render."""
    return _make(planned, "render", RENDER, _render_name(planned), 1, after)


def _make(planned: Draft, kind: Kind, resources: Resources, name: str, size: int, after: Sequence[str]) -> Executor:
    profile = planned.profile
    wanted = parameters(profile, kind, resources, name, planned.places, handed_on())
    return Executor(
        planned.places.session,
        wanted,
        size,
        time_outs=resources.time_outs,
        python=profile.python,
        omit=omitted(profile),
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
