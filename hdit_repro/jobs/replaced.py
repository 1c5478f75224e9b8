"""What a scale leaves of a row of one's own: its tables lie over the row and have the last word. No torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from hdit_repro.jobs.files import PARTS, read_experiment
from hdit_repro.jobs.merge import flatten, overlay
from hdit_repro.jobs.resolve import parent, resolve
from hdit_repro.jobs.types import Job, Paper
from hdit_repro.spec.data import Folder


class Replaced(NamedTuple):
    """The row's own values that a scale replaces (dotted fields), and the row whose run it is if nothing is left."""

    fields: tuple[str, ...]
    twin: str


NOTHING = Replaced((), "")


def replaced(job: Job) -> Replaced:
    """What the scale of a job replaces of its row; nothing for rows of the paper, whose scales belong to the suite."""
    if job.scale == "paper" or job.paper != Paper():
        return NOTHING
    values, below = _own(job.experiment, job.row)
    final = flatten(msgspec.to_builtins(job.run))
    fields = tuple(
        field
        for field, value in flatten(values).items()
        if job.sources.get(field) == f"{job.scale} scale" and _text(final.get(field)) != _text(value)
    )
    if not fields or not below:
        return Replaced(fields, "")
    data = job.run.data.dataset
    own = data if isinstance(data, Folder) and job.source_of("data.dataset") == "--data" else None
    other = resolve(*below, job.scale, dataset=own)
    return Replaced(fields, other.name if other.run.row_id == job.run.row_id else "")


def _own(experiment: str, row: str) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """What a row says itself and takes from rows that are no rows of the paper either; the paper's row below them."""
    own: list[tuple[str, str]] = []
    below: tuple[str, str] | None = (experiment, row)
    while below is not None and read_experiment(below[0]).paper == Paper():
        own.append(below)
        below = parent(*below)
    values = read_experiment(own[-1][0]).base if below is None else {}
    for file, name in reversed(own):
        body = read_experiment(file).rows[name]
        values = overlay(values, {key: value for key, value in body.items() if key in PARTS})
    return values, below


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value)
