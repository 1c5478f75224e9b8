"""A remark on rows of one's own whose values a scale replaces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hdit_repro.cli.output import remark

if TYPE_CHECKING:
    from hdit_repro.jobs import Job

NAMED = 6
"""Fields that a remark names; more are counted."""


def say_replaced(jobs: Iterable[Job]) -> None:
    """Say which own values of each row its scale replaces, and whose run it is where nothing of the row is left."""
    from hdit_repro.jobs.replaced import replaced
    from hdit_repro.jobs.values import as_written

    for job in {(job.experiment, job.row): job for job in jobs}.values():
        fields, twin = replaced(job)
        if not fields:
            continue
        names = ", ".join(fields[:NAMED]) + (f" and {len(fields) - NAMED} more" if len(fields) > NAMED else "")
        left = f"nothing of {job.name} is left, and this is the run of {twin}: " if twin else f"of {job.name}, "
        section = f"[{job.scale}.row.{as_written(f'{job.experiment}/{job.row}')}]"
        remark(f"{left}{job.scale} scale replaces {names}; {section} in jobs/scales.toml has the last word")
