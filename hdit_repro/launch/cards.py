"""Cards of runs whose stages were ended, or failed, after their output was whole: nothing runs those stages again. No
torch."""

from __future__ import annotations

from collections.abc import Iterable

from hdit_repro.errors import UserError
from hdit_repro.files import is_locked
from hdit_repro.jobs import Job
from hdit_repro.launch.graph import row_name
from hdit_repro.records.layout import STAGES, Roots, RunFolder
from hdit_repro.stages.model_card import mend_card


def mend_cards(jobs: Iterable[Job], roots: Roots) -> list[str]:
    """Draw what cards lack, but for runs that a stage works on now; returns a line for each that cannot be drawn."""
    wrong: dict[str, str] = {}
    for job in jobs:
        folder = RunFolder(roots, job.run, job.scale)
        if folder.path.name in wrong or not folder.path.is_dir():
            continue
        try:
            if any(is_locked(folder.lock(stage)) for stage in STAGES):
                continue
            mend_card(job, folder)
        except Exception as error:  # whatever it is, the numbers stand, and other cards are drawn
            reason = (
                error.found or error.problem if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            wrong[folder.path.name] = (
                f"{row_name(job)}: its stages are done, and its card.md could not be written: {reason}"
            )
    return list(wrong.values())
