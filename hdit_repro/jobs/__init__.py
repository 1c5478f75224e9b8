"""Experiments, declared: TOML files in, frozen and checked runs out. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from hdit_repro.errors import UserError, nearest
from hdit_repro.jobs.files import Experiment, experiment_files, read_experiment
from hdit_repro.jobs.resolve import parent as parent
from hdit_repro.jobs.resolve import resolve
from hdit_repro.jobs.types import SCALES as SCALES
from hdit_repro.jobs.types import Job as Job
from hdit_repro.jobs.types import Paper as Paper
from hdit_repro.spec.data import Folder
from hdit_repro.spec.run import Run

__all__ = [
    "SCALES", "Experiment", "Job", "Paper", "all_jobs", "asking", "experiments", "find", "load", "misread", "parent",
    "read", "rows_of", "standing", "survey",
]  # fmt: skip


def experiments() -> list[str]:
    """Names of all experiments, in the order of their files."""
    return sorted(experiment_files())


def read(experiment: str) -> Experiment:
    """The job file of an experiment as it is written: title, place in the paper, base, rows.

    Raises:
        UserError: no such experiment, or a file that is not understood.
    """
    return read_experiment(experiment)


def load(
    experiment: str,
    scale: str = "paper",
    rows: Iterable[str] | None = None,
    seed: int = 0,
    dataset: Folder | None = None,
) -> list[Job]:
    """All rows of an experiment, or those named, as checked runs at a scale; on the user's own images, if given.

    Raises:
        UserError: an unknown experiment, row or scale, or a row that cannot be.
    """
    names = list(rows) if rows is not None else list(read(experiment).rows)
    return [resolve(experiment, row, scale, seed, dataset) for row in names]


def find(name: str, scale: str = "paper", seed: int = 0, dataset: Folder | None = None) -> Job:
    """A run by its name: `experiment/row`, or `experiment` where that has one row; `dataset` as in `load`.

    Raises:
        UserError: no such run; the message lists the rows, or the nearest name.
    """
    experiment, slash, row = name.partition("/")
    if experiment not in experiment_files():
        close = nearest(name, _names())
        raise UserError(
            f"there is no run called {name!r}",
            found=repr(name),
            expected=f"experiment/row, with an experiment of: {', '.join(experiments())}",
            fix=f"did you mean {close!r}? `hdit-repro list` prints all" if close else "`hdit-repro list` prints all",
        )
    rows = list(read(experiment).rows)
    if not slash and len(rows) > 1:
        raise UserError(
            f"{experiment} has {len(rows)} rows, and one run is asked for",
            found=repr(name),
            expected=", ".join(f"{experiment}/{row}" for row in rows),
            fix=f"name a row: {experiment}/{rows[-1]}",
        )
    return resolve(experiment, row if slash else rows[0], scale, seed, dataset)


def _names() -> list[str]:
    """Every name that `find` takes; a file that is not understood costs no other's names."""
    found = experiments()
    for experiment in experiments():
        with contextlib.suppress(UserError):
            found += [f"{experiment}/{row}" for row in read(experiment).rows]
    return found


def all_jobs(scale: str = "paper") -> list[Job]:
    """Every row of every experiment."""
    return [job for experiment in experiments() for job in load(experiment, scale)]


def standing(scale: str) -> list[Job]:
    """Every row that can be at a scale, for who looks through all of them and was asked for none that cannot."""
    return survey(scale)[0]


def asking(scale: str, runs: Iterable[Run]) -> dict[str, list[str]]:
    """The rows that ask for runs as they stand now, by the runs' row id, on images of the user's own too.

    A run whose row was changed or taken away since has none.

    Args:
        scale: whose rows are looked through.
        runs: each may be on other images.
    """
    found: dict[str, list[str]] = {}
    for dataset in {run.data.dataset if isinstance(run.data.dataset, Folder) else None for run in runs}:
        for job in survey(scale, dataset)[0]:
            found.setdefault(job.run.row_id, []).append(job.name)
    return {row: sorted(set(names)) for row, names in found.items()}


def survey(scale: str = "paper", dataset: Folder | None = None) -> tuple[list[Job], list[UserError]]:
    """Every row that can be at a scale, and why each other row, or a file's rows, cannot; `dataset` as in `load`."""
    found: list[Job] = []
    refused: list[UserError] = []
    for experiment in experiments():
        try:
            those, wrong = rows_of(experiment, scale, dataset)
        except UserError as error:
            refused.append(error)
            continue
        found += those
        refused += wrong
    return found, refused


def rows_of(experiment: str, scale: str = "paper", dataset: Folder | None = None) -> tuple[list[Job], list[UserError]]:
    """The rows of an experiment that can be at a scale, and why each other cannot; `dataset` as in `load`.

    Raises:
        UserError: no such experiment, or a file that is not understood.
    """
    found: list[Job] = []
    refused: list[UserError] = []
    for row in read(experiment).rows:
        try:
            found.append(resolve(experiment, row, scale, dataset=dataset))
        except UserError as error:
            refused.append(error)
    return found, refused


def misread() -> list[UserError]:
    """Why each job file that is not understood is not."""
    refused: list[UserError] = []
    for experiment in experiments():
        try:
            read(experiment)
        except UserError as error:
            refused.append(error)
    return refused
