"""Submit what is missing and not queued as one graph. The journal is written around each step."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import RunError, UserError
from hdit_repro.jobs import Job
from hdit_repro.jobs.files import TOML_FILES
from hdit_repro.launch.describe import describe
from hdit_repro.launch.job import StageFunction
from hdit_repro.launch.slurm import journal, preflight, queue
from hdit_repro.launch.slurm.draft import Draft, draft, executor_of, journal_of, render_executor, scripts
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.graph import Element
from hdit_repro.launch.slurm.job import StageJob
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.render import RenderJob
from hdit_repro.launch.slurm.script import cpus_of_a_task, dependency, whole_arrays
from hdit_repro.launch.slurm.snapshot import take
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Settings

SETTLING = 5.0
"""Seconds after which an sbatch whose caller was killed has come to its end."""


class Submitted(NamedTuple):
    """How many stages were open and in the queue already, the ids of the new jobs, and those of jobs that are held."""

    open: int
    queued: int
    job_ids: tuple[str, ...]
    session: str
    held: tuple[str, ...] = ()


def submit(
    jobs: Sequence[Job],
    roots: Roots,
    profile: Slurm,
    *,
    render: Sequence[str],
    allow_dirty: bool = False,
    confirm: Callable[[Draft], None] | None = None,
    busy: Callable[[], None] | None = None,
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
        busy: called where another submission from this workplace is waited for: its submitter may be asked.
        stages: what runs each stage; None is the suite's own.

    Raises:
        UserError: the site, the profile, the folders or the code do not allow it; nothing was submitted.
        RunError: sbatch refused half-way; what was submitted has been cancelled, or the message says what was not.
    """
    preflight.check_site(profile)
    preflight.make_folder(roots.runs)
    preflight.check_room(roots.runs, 0)
    with journal.turn(roots, busy):
        listed = recover(roots)
        planned = draft(jobs, roots, profile, listed, allow_dirty=allow_dirty)
        waiting = sum(bool(planned.covered.jobs(task.key)) for task in planned.left)
        if not planned.groups:
            _join(planned)
            return Submitted(len(planned.left), waiting, (), "", tuple(planned.covered.held))
        preflight.check_cap(profile, len(queue.squeue()) if profile.submit_cap else 0, len(planned.elements) + 1)
        preflight.check_room(roots.runs, planned.disk)
        for script in {script.kind: script for script in scripts(planned)}.values():
            preflight.try_script(script.text)
        if confirm is not None:
            confirm(planned)
        queue.scancel(queue.own(planned.covered.doomed))
        _prepare(planned)
        ids = _act(planned, tuple(render), stages)
        return Submitted(len(planned.left), waiting, tuple(ids), planned.session, tuple(planned.covered.held))


def recover(roots: Roots) -> dict[str, queue.Queued]:
    """Bring submissions whose submitter ended half-way into a known state, and return the queue.

    What has an id goes on, and is built upon; what was submitted without its id having been written is cancelled, by
    its own user.
    """
    known = journal.journals(roots)
    lost = journal.strays(known)
    if ages := [journal.age(roots, entry) for entry in known if entry.state == "open"]:
        time.sleep(min(max(0.0, SETTLING - min(ages)), SETTLING))  # a file server's clock may be ahead
    listed = queue.squeue(journal.submitters(roots))
    stray = sorted({job.id.partition("_")[0] for job in listed.values() if job.name in lost})
    queue.scancel(queue.own(stray))
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
    _copy_jobs(Path.cwd() / "jobs", session / "jobs")
    describe(_submitted(planned), planned.roots, planned.code.source)
    _join(planned)


def _submitted(planned: Draft) -> list[Job]:
    """The rows of which something is submitted now."""
    keys = {task.key for element in planned.elements for task in element.tasks}
    return [job for job in planned.jobs if any(job in task.jobs for task in planned.left if task.key in keys)]


def _join(planned: Draft) -> None:
    """Name the other open rows, of which all is in the queue for rows that they share it with, in their run.json."""
    new = _submitted(planned)
    others = [job for job in planned.jobs if any(job in task.jobs for task in planned.left) and job not in new]
    with contextlib.suppress(PermissionError):  # another user's runs go on whatever they are called
        describe(others, planned.roots, planned.code.source, queued=True)


def _copy_jobs(jobs: Path, folder: Path) -> None:
    """The job files and profiles that can be read: an editor's lock is a link that leads nowhere."""
    for path in (*jobs.glob(TOML_FILES), *jobs.glob(f"clusters/{TOML_FILES}")):
        if path.is_file():
            target = folder / path.relative_to(jobs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _act(planned: Draft, render: tuple[str, ...], stages: Mapping[str, StageFunction] | None) -> list[str]:
    """Submit the groups in order, then the render. Whatever goes wrong, nothing of it stays in the queue."""
    entry = journal_of(planned)
    entry.site = queue.site()
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
            executor = executor_of(planned, group, number, dependency("afterok", whole_arrays(after, sizes)))
            _submit_unit(planned, entry, unit, executor, [_function(planned, one, stages) for one in group.elements])
            ids |= {element.name: unit.id_of(place) for place, element in enumerate(group.elements)}
        last = entry.units[-1]
        waits = [unit.job_id for unit in entry.units[:-1]]
        executor = render_executor(planned, dependency("afterany", waits))
        _submit_unit(planned, entry, last, executor, [RenderJob(render)])
    except BaseException as error:
        if not _undo(planned, entry) and isinstance(error, (UserError, OSError)):
            raise _half_way(error, entry) from error
        if isinstance(error, OSError):
            raise RunError(
                "the submission could not be written, and nothing of it is left in the queue",
                found=f"{planned.places.session}: {error.strerror or error}",
                expected="room for scripts and a journal",
                fix="`hdit-repro gc` lists what may go; then run the same command again",
            ) from error
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


def _undo(planned: Draft, entry: Journal) -> bool:
    """Cancel what was submitted of a graph that failed half-way, the unit without an id found by its name.

    Returns:
        False where SLURM does not answer; the journal stays open then, and the next call finds what is left.
    """
    names = {unit.name for unit in entry.units}
    try:
        by_name = [job.id.partition("_")[0] for job in queue.squeue().values() if job.name in names]
        queue.scancel(sorted({*by_name, *(unit.job_id for unit in entry.units if unit.job_id)}))
    except UserError:
        return False
    entry.state = "cancelled"
    with contextlib.suppress(RunError, OSError):  # a full disk: it stays open
        journal.save(planned.roots, entry)
    return True


def _half_way(error: UserError | OSError, entry: Journal) -> RunError:
    known = [unit.job_id for unit in entry.units if unit.job_id]
    jobs = f"jobs {', '.join(known)}, and" if known else "perhaps"
    why = " ".join(filter(None, (str(error).splitlines()[0], error.found if isinstance(error, UserError) else None)))
    return RunError(
        "the submission failed half-way, and SLURM did not answer when it was to be taken back",
        found=f"{why}; in the queue: {jobs} the one that was being submitted",
        expected="all of it, or nothing",
        fix="when `sinfo` answers, run the same command again: it goes on with what is queued; or `hdit-repro cancel`",
    )


def _function(planned: Draft, element: Element, stages: Mapping[str, StageFunction] | None) -> StageJob:
    profile = planned.profile
    settings = Settings(
        threads=cpus_of_a_task(profile, element.resources),
        batch=profile.sample_batch,
        training=profile.training,
        sampling=profile.sampling,
    )
    gpus, packed = element.resources.all_gpus, element.kind == "pack"
    return StageJob(element.tasks, planned.session, settings, gpus, element.numbers, packed, stages)
