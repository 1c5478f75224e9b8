"""What the images of a table's own rows are compared with, said from their jobs whether measured or not."""

from __future__ import annotations

from collections.abc import Sequence

from hdit_repro import jobs
from hdit_repro.jobs import Job
from hdit_repro.render.cells import fixed
from hdit_repro.render.rows import Row
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import facts_of
from hdit_repro.spec.evaluation import AdmReference


def reference_notes(rows: Sequence[Row], others: Sequence[str]) -> list[str]:
    """The reference of the rows that have a job, where print names none, and the jobs that take another one.

    Args:
        others: names of jobs ("alternatives/ffhq1024-50k-reference") that are such a row but for the reference; none
            of them and nothing is said.
    """
    if not others:
        return []
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.paper is not None:
            names.setdefault(_against(row.paper), []).append(f"`{row.paper.name}`")
    found = [f"Reference of ours ({', '.join(said)}): {text}; print names none." for text, said in names.items()]
    return found + [f"By option, `{name}`: {_against(jobs.find(name))}." for name in others]


def _against(job: Job) -> str:
    """Feature network and reference of a job in words."""
    reference, dataset = job.run.evaluation.reference, job.run.data.dataset
    if isinstance(reference, AdmReference):
        what = f"the published statistics {reference.name}"
    else:
        images = facts_of(dataset).images
        count = "all " if reference.count in (None, images) else f"{fixed(reference.count, 0)} of the "
        what = f"{count}{fixed(images, 0)} images of {kind_of(dataset)} at {job.run.data.resolution}²"
    return f"{kind_of(job.run.evaluation.extractor)} against {what}"
