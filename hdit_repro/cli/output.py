"""How commands print: data on stdout, remarks on stderr, the same on a terminal and in a pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer


def group() -> typer.Typer:
    """The holder of a module's commands, with the settings that all share."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
    )


def data(text: str) -> None:
    """A line of what was asked for."""
    typer.echo(text)


def remark(text: str) -> None:
    """A line about it, for the reader and not for a pipe."""
    typer.echo(text, err=True)


def as_json(value: Any) -> None:
    """Data as indented JSON. NaN is refused."""
    data(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print aligned columns; the arguments are those of `aligned`."""
    for line in aligned(headers, rows, right):
        data(line)


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Aligned columns, two spaces apart, as wide as they are: no lines, no colour, nothing cut.

    Args:
        headers: names of the columns.
        rows: cells as text.
        right: headers of the columns that are aligned to the right.
    """
    widths = [max(len(row[place]) for row in (headers, *rows)) for place in range(len(headers))]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(headers, row, widths, strict=True)
        ).rstrip()
        for row in (headers, *rows)
    ]


def near(path: Path) -> str:
    """A path as short as it can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def count(number: int) -> str:
    """A count for a person: 31.37G, 117.0M, 694.7K, 42."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:,.4g}{letter}"
    return str(number)
