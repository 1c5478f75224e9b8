"""What a scale leaves of a row of one's own: its tables lie over the row and have the last word. No torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from hdit_repro.jobs.files import PARTS, read_experiment
from hdit_repro.jobs.merge import flatten, overlay
from hdit_repro.jobs.resolve import resolve
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
    values, parent = _own(job.experiment, job.row)
    final = flatten(msgspec.to_builtins(job.run))
    fields = tuple(
        field
        for field, value in flatten(values).items()
        if job.sources.get(field) == f"{job.scale} scale" and _text(final.get(field)) != _text(value)
    )
    if not fields or not parent:
        return Replaced(fields, "")
    data = job.run.data.dataset
    own = data if isinstance(data, Folder) and job.source_of("data.dataset") == "--data" else None
    other = resolve(*parent, job.scale, dataset=own)
    return Replaced(fields, other.name if other.run.row_id == job.run.row_id else "")


def _own(experiment: str, row: str) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """What a row says itself and takes from rows that are no rows of the paper either; the paper's row below them."""
    body = read_experiment(experiment).rows[row]
    values = {key: value for key, value in body.items() if key in PARTS}
    if "extends" not in body:
        return overlay(read_experiment(experiment).base, values), None
    other, _, below = body["extends"].rpartition("/")
    if read_experiment(other or experiment).paper != Paper():
        return values, (other or experiment, below)
    under, parent = _own(other or experiment, below)
    return overlay(under, values), parent


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value)
