"""A filled table as markdown and csv; `booktabs.py` has LaTeX. Equal input gives equal bytes."""

from __future__ import annotations

import re

from tabulate import tabulate

from hdit_repro.files import as_csv
from hdit_repro.render.cells import Value
from hdit_repro.render.sheet import Sheet, by_group


def markdown(sheet: Sheet) -> str:
    """A heading, the table, and the notes as a list."""
    return f"# {plain(sheet.title)}\n\n{pipes(sheet)}\n\n{notes_of(sheet)}"


def pipes(sheet: Sheet) -> str:
    """A pipe table whose sub-headings are bold rows, without the last line's end."""
    body: list[list[str]] = []
    for group, rows in by_group(sheet):
        if group:
            body.append([f"**{plain(group)}**", *[""] * (len(sheet.heads) - 1)])
        body += [[plain(cell.text) for cell in row] for row in rows]
    return tabulate(
        body,
        headers=[plain(head.line) for head in sheet.heads],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if head.left else "right" for head in sheet.heads],
    )


def notes_of(sheet: Sheet) -> str:
    """The notes as a markdown list."""
    return "".join(f"- {plain(note)}\n" for note in sheet.notes)


def plain(text: str) -> str:
    """Text that markdown shows as it is: pipes would end a cell, stars and the like would vanish. Code stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    shown = [part if part.startswith("`") else re.sub(r"([\\*_<>\[\]`~])", r"\\\1", part) for part in parts]
    return "".join(shown).replace("|", r"\|")


def csv(sheet: Sheet) -> str:
    """One line a row, full precision, extra columns beside the cell that they belong to; what is missing is empty."""
    lines = []
    for row in sheet.rows:
        line: dict[str, Value] = {}
        for head, cell in zip(sheet.heads, row, strict=True):
            line |= {head.key: cell.value, **cell.extra}
        lines.append(line)
    return as_csv(csv_columns(sheet), lines)


def csv_columns(sheet: Sheet) -> list[str]:
    """A column a heading, each followed by those that only machines want."""
    names: list[str] = []
    for number, head in enumerate(sheet.heads):
        names += [head.key, *dict.fromkeys(name for row in sheet.rows for name in row[number].extra)]
    return names
