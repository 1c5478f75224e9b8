"""Finds a row by its name, and says where else it was probably meant to be looked for. No torch."""

from __future__ import annotations

import contextlib
from typing import Any

from hdit_repro.errors import UserError, pick
from hdit_repro.files import shipped
from hdit_repro.jobs.files import Experiment, at, experiment_files, read_experiment, read_file

FEW = 3
"""Rows of other experiments that a hint names."""


def row_of(experiment: str, row: str, where: str = "") -> dict[str, Any]:
    """A row as its file has it.

    Args:
        experiment: in which it is looked for.
        row: its name.
        where: who asks; empty for the experiment's own file.

    Raises:
        UserError: no such experiment or row. Where the project's file has the row and the user's own of the same name
            stands in front of it, that is said.
    """
    source = read_experiment(experiment)
    try:
        return pick(source.rows, row, kind=f"row of {experiment}", where=where or str(source.path))
    except UserError as error:
        if _hides(source, row):
            error.fix = (
                f"your {source.path} hides the project's {experiment}, which has {row!r}: call your file otherwise, "
                "and its rows are there beside the project's"
            )
        raise


def _hides(source: Experiment, row: str) -> bool:
    """Whether the project's file of the same name has a row that the user's own does not."""
    path = shipped("jobs") / source.path.name
    return path != source.path and path.is_file() and row in read_file(path).rows


def extended(experiment: str, row: str, text: str) -> tuple[str, str]:
    """The experiment and the row that `extends` names: "E" of the same file, or "table1/E".

    Raises:
        UserError: no such experiment or row, with those that are called so elsewhere.
    """
    path = read_experiment(experiment).path
    other, _, name = text.rpartition("/")
    try:
        row_of(other or experiment, name, at(path, row, "extends"))
    except UserError as error:
        error.found = f"extends = {text!r} in {at(path, row, 'extends')}"
        if not other:
            _point_elsewhere(error, experiment, row, text)
        raise
    return other or experiment, name


def _point_elsewhere(error: UserError, experiment: str, row: str, name: str) -> None:
    """Say which other files have a row of a name that stands without its file."""
    beside = ", ".join(each for each in read_experiment(experiment).rows if each != row)
    error.expected = f"{beside}, or a row of another file: EXPERIMENT/ROW" if beside else "EXPERIMENT/ROW"
    if name in experiment_files():
        error.fix = f'name its row too: extends = "{name}/{next(reversed(read_experiment(name).rows))}"'
    elif found := [f'"{each}/{name}"' for each in _having(name)]:
        error.fix = f"name its file too: extends = {', or '.join(found[:FEW])}"


def _having(row: str) -> list[str]:
    """The experiments that have a row of a name; a file that is not understood counts for none."""
    found: list[str] = []
    for experiment in sorted(experiment_files()):
        with contextlib.suppress(UserError):
            found += [experiment] if row in read_experiment(experiment).rows else []
    return found
