"""Checkpoints that were trained elsewhere: where one is not here, only the import that brought it brings it again."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from hdit_repro.errors import UserError
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.model import DiT
from hdit_repro.spec.run import Run


def is_imported(run: Run) -> bool:
    """Whether a run's weights were trained elsewhere, so that no training here makes them."""
    return run.training.imported is not UNSET and not run.external


def import_again(run: Run) -> str:
    """The command that brings an imported checkpoint again."""
    origin = "dit" if isinstance(run.model, DiT) else "k-diffusion"
    return f"hdit-repro import --from {origin} --name NAME FILE, with the name and the other options that it had"


def remedy(run: Run) -> str:
    """What makes an imported checkpoint anew; empty for one that is trained here."""
    return import_again(run) if is_imported(run) else ""


def lost(rows: Mapping[str, RunFolder], others: bool = False) -> UserError:
    """The error of imported checkpoints that are not here.

    Args:
        rows: their runs' folders by the rows' names, at least one; all at one scale.
        others: whether other rows were asked for too.
    """
    first = next(iter(rows.values()))
    digests = dict.fromkeys(f"the file with SHA-256 {folder.run.training.imported}" for folder in rows.values())
    fix = import_again(first.run)
    if first.scale != "paper":
        fix = f"an import is of paper scale: the same command without --scale {first.scale}"
    return UserError(
        "this run's weights were trained elsewhere, and they are not here",
        found="\n".join(f"{name}: {folder.unfinished}" for name, folder in rows.items()),
        expected="\n".join(digests),
        fix=fix + ("; or ask for the other rows alone" if others else ""),
    )
