"""Where the fault of a refused row stands: in its own file, or in a section of a file of scales. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hdit_repro.files import shipped
from hdit_repro.jobs.files import PARTS, SCALES_FILE, at
from hdit_repro.jobs.merge import flatten
from hdit_repro.jobs.scales import Overlay

_FIELD = re.compile(rf"\b(?:{'|'.join(PARTS)})(?:\.[a-z_]+)+")
_NUMBER = re.compile(r"\d+")


def says(table: dict[str, Any], field: str) -> bool:
    """Whether a table has a dotted field, something in it, or a value in place of what is around it."""
    return any(f"{name}.".startswith(f"{field}.") or f"{field}.".startswith(f"{name}.") for name in flatten(table))


def guilty(overlays: Sequence[Overlay], refusal: str, without: Callable[[list[Overlay]], str]) -> Overlay | None:
    """The overlay that brought a refusal in; None where the row's file did, or what the project lays over every row.

    A refusal that differs in numbers alone when every overlay is left out that might have brought it in is none of
    theirs. Else the topmost one of them is taken away, then the next, until something else is said.

    Args:
        overlays: what lies over the row, in order.
        refusal: what was said of the row with all of them.
        without: what is said of the row with some of them alone; empty where it stands.
    """
    kept = [each for each in overlays if _of_every_row(each)]
    if _NUMBER.sub("", without(kept)) == _NUMBER.sub("", refusal):
        return None
    kept = list(overlays)
    for each in overlays[::-1]:
        if not _of_every_row(each):
            kept.remove(each)
            if without(kept) != refusal:
                return each
    return None


def _of_every_row(overlay: Overlay) -> bool:
    """Whether the project lays it over rows that it does not know."""
    return overlay.path == shipped("jobs") / SCALES_FILE and overlay.section[1] in ("all", "shape")


def place(field: str, message: str, overlays: Sequence[Overlay], at_fault: Overlay | None) -> str:
    """The file and the line of what is wrong, where a file of scales says it; empty where none does.

    Args:
        field: what is refused, list positions in brackets; empty for a row as a whole.
        message: why, with the fields that do not go together.
        overlays: what lies over the row, in order.
        at_fault: the one of them that brought the refusal in.
    """
    leaf = field.partition("[")[0]
    for each in overlays[::-1]:
        if any(f"{leaf}.".startswith(f"{name}.") for name in flatten(each.table)):
            return each.at(leaf)
    return at_fault.at(_said(at_fault.table, leaf, message)) if at_fault else ""


def place_in_row(path: Path, row: str, body: dict[str, Any], field: str, message: str) -> str:
    """The file and the line of what is wrong in a row as its file has it; `field` and `message` as in `place`."""
    return at(path, row, field or _said(body, "", message))


def _said(table: dict[str, Any], field: str, message: str) -> str:
    """What is refused, or of a row as a whole the first field that the message names and the table has."""
    return field or next((name for name in _FIELD.findall(message) if says(table, name)), "")
