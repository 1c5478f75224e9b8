"""run.json: what a run folder holds, whole, and which code was launched. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import lock, read_json, write_json
from hdit_repro.jobs import Job
from hdit_repro.launch.graph import row_name
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.provenance import Source, checkout_source


def describe(jobs: Iterable[Job], roots: Roots, source: Source | None = None, *, queued: bool = False) -> None:
    """Write or widen the run.json of every run folder that the jobs use.

    Rows named there before stay. One that was edited since stays under `earlier` as it was, since its jobs may be in a
    queue. `commit` and `dirty` are of the code that is launched now.

    Args:
        jobs: the rows.
        roots: the workplace.
        source: the code; None looks at the checkout.
        queued: nothing of theirs is launched now, since it is in a queue, with the code that its run.json names.
    """
    source = source or checkout_source(Path(__file__).resolve().parents[2])
    for job in jobs:
        folder = RunFolder(roots, job.run, job.scale)
        with lock(folder.path / "state" / "run.lock"):
            known, edited = described(folder.description), described(folder.description, earlier=True)
            code = _code(folder.description, source) if queued else source
            rows = {row_name(other): _row(other) for other in known} | {row_name(job): _row(job)}
            now = {row["evaluation_id"] for row in rows.values()}
            earlier = {
                other.run.evaluation_id: _row(other)
                for other in (*edited, *known)
                if other.run.evaluation_id not in now
            }
            value = {
                "id": job.run.id,
                "names": sorted(rows),
                "seed": job.run.seed,
                "scale": job.scale,
                "commit": code.commit,
                "dirty": code.dirty,
                "rows": rows,
                "earlier": list(earlier.values()),
            }
            write_json(folder.description, value)


def described(path: Path, *, earlier: bool = False) -> list[Job]:
    """The rows in a run.json, or what `earlier` ones were before they were edited; none where it is missing, damaged or
    of another version's shape."""
    try:
        value = read_json(path)
        rows = value.get("earlier", []) if earlier else value["rows"].values()
        return [msgspec.convert(row["job"], Job) for row in rows]
    except (UserError, msgspec.ValidationError, KeyError, TypeError, AttributeError):
        return []


def _code(path: Path, other: Source) -> Source:
    """The code that a run.json names; `other` where it names none."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        value = read_json(path)
        return Source(value["commit"], value["dirty"])
    return other


def _row(job: Job) -> dict[str, Any]:
    return {
        "job": msgspec.to_builtins(job),
        "training_id": job.run.training_id,
        "sampling_id": job.run.sampling_id,
        "evaluation_id": job.run.evaluation_id,
    }
