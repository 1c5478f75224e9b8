"""Imported checkpoints that stages need and that are not here: nothing that is run makes them. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from hdit_repro.launch.graph import Task
from hdit_repro.records.imported import import_again, is_imported, lost


def lost_imports(left: Iterable[Task]) -> list[Task]:
    """Of what is to be run, the trainings of others whose checkpoints are not here."""
    return [task for task in left if task.stage == "train" and is_imported(task.job.run)]


def refuse_lost(left: Iterable[Task]) -> None:
    """Refuse to begin what needs a checkpoint that only its import can bring.

    Args:
        left: what is to be run.

    Raises:
        UserError: there is one, or several.
    """
    tasks = list(left)
    if found := {task.name: task.folder for task in lost_imports(tasks)}:
        paths = {folder.path for folder in found.values()}
        raise lost(found, others=any(task.folder.path not in paths for task in tasks))


def lost_words(left: Iterable[Task]) -> list[str]:
    """A line for each such checkpoint, for a plan, which shows the other rows all the same."""
    return [
        f"warning: {task.name} cannot be run: its weights were trained elsewhere, and they are not here "
        f"({task.folder.unfinished}); import the file with SHA-256 {task.job.run.training.imported} again: "
        f"{import_again(task.job.run)}"
        for task in lost_imports(left)
    ]
