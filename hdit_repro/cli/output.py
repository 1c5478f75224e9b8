"""How commands print: data on stdout, remarks on stderr, in a pipe whole and on a terminal as its width allows."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import typer

from hdit_repro.errors import RunError, UserError, counted, escaped
from hdit_repro.files import whose

READABLE = 16
"""Columns that a text in several lines needs."""

PART = 12
"""Columns before what an error found, expected and advises."""

COPIED = re.compile(r"hdit-repro|`| -|[$=/]")
"""In what mends an error: a command, an option, a variable or a path, which a line's end would break when copied."""

COMFORT = 24
"""Columns for which the last column of a table takes the place of spare ones."""


def group() -> typer.Typer:
    """The holder of a module's commands, with the settings that all share."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
    )


def data(text: str) -> None:
    """A line of what was asked for."""
    typer.echo(text)


def remark(text: str) -> None:
    """A line about it, for the reader and not for a pipe; on a terminal it breaks between words."""
    typer.echo("\n".join(wrapped(escaped(text, kept=""), width(sys.stderr))), err=True)


def left_out(refused: Iterable[UserError]) -> None:
    """Say of rows that are not shown why they cannot be."""
    for error in refused:
        typer.echo(told(error, width(sys.stderr), "left out"), err=True)


def files_left_out(count: int) -> None:
    """Say of files among records that are none, or cannot be read, that there are some."""
    if count:
        remark(f"{counted(count, 'file')} among the records left out (`hdit-repro results lint` says why)")


def must_be_whole(refused: Sequence[OSError | UserError], problem: str, rights: str = "rX") -> None:
    """Say at a command's end what of its work it could not do, for files or folders that this user has no right to.

    Args:
        refused: what the system said of each.
        problem: what was not done.
        rights: those that were missing, as `chmod` calls them.

    Raises:
        RunError: something is refused.
        UserError: something is damaged, which says itself how to mend it.
    """
    unseen: list[OSError] = []
    for error in refused:
        if isinstance(error, UserError):
            raise error
        unseen.append(error)
    if unseen:
        raise RunError(
            problem,
            found="\n".join(f"{near(Path(str(e.filename)))}: {e.strerror}{whose(e, near)}" for e in unseen),
            expected="files and folders that this user has the rights to",
            fix=f"ask their owner for `chmod -R g+{rights}` on them, then run the same command again",
        )


def width(stream: TextIO) -> int:
    """Columns of the terminal behind a stream; 0 where there is none, and nothing needs to fit."""
    return shutil.get_terminal_size().columns if stream.isatty() else 0


def wrapped(text: str, columns: int) -> list[str]:
    """A text in lines of so many columns at most, further lines indented; 0 is no limit. No word is broken."""
    if not columns or len(text) <= columns:
        return [text]
    return textwrap.wrap(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def hanging(name: str, text: str, columns: int) -> list[str]:
    """A text behind its name, further lines below the text's beginning; 0 columns are no limit. No word is broken."""
    if not columns or columns - len(name) < READABLE:
        return [name + text]
    first, *more = textwrap.wrap(text, columns - len(name), break_long_words=False, break_on_hyphens=False) or [""]
    return [name + first, *(" " * len(name) + line for line in more)]


def told(error: UserError, columns: int, name: str = "error") -> str:
    """An error, each part below its own beginning; what mends it stays in one line where there is a command to copy."""
    first, *others = escaped(f"{name}: {error}").split("\n")
    lines, place = wrapped(first, columns), ""
    for line in others:
        part, text = line[:PART], line[PART:]
        place = part.strip() or place
        if len(line) <= columns:
            lines.append(line)
        else:
            mends = place == "fix" or text.startswith("fix ")  # or what it found is an error with advice of its own
            lines += advice(part, text, columns) if mends else hanging(part, text, columns)
    return "\n".join(lines)


def advice(name: str, text: str, columns: int) -> list[str]:
    """What mends something, behind its name: in one line where there is a command to copy, else as `hanging`."""
    return [name + text] if COPIED.search(text) else hanging(name, text, columns)


def as_json(value: Any) -> None:
    """Data as indented JSON, in ASCII where the output cannot hold all letters. NaN is refused."""
    whole = str(sys.stdout.encoding).lower().startswith("utf")
    data(json.dumps(value, indent=2, ensure_ascii=not whole, allow_nan=False))


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = (), spare: Sequence[str] = ()
) -> None:
    """Print aligned columns; on a narrow terminal without what is empty or spare, which is said, or a block a row.

    Args:
        headers: names of the columns; the first names a row.
        rows: cells as text.
        right: headers of the columns that are aligned to the right.
        spare: headers of the columns that may go, the first of them first.
    """
    plain = [[escaped(cell, kept="") for cell in row] for row in rows]
    columns = width(sys.stdout)
    kept, cells, said = narrowed(headers, plain, spare, columns)
    for line in fitted(kept, cells, columns, right):
        data(line)
    if said:
        remark(said)


def narrowed(
    headers: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], columns: int
) -> tuple[list[str], list[list[str]], str]:
    """A table less what is empty and as much as it takes of what is spare, and what is to be said of that.

    Where that is too wide still, nothing that is spare goes. 0 columns are no limit, and keep what is empty.
    """
    kept, cells, empty = list(headers), [list(row) for row in rows], list[str]()
    if columns:
        empty = [name for place, name in enumerate(headers) if not any(row[place] for row in rows)]
        kept, cells = without(headers, rows, [*empty, *spare], columns)
        if _needed(kept, cells, READABLE) > columns:
            kept, cells = without(headers, rows, empty, columns)
    hidden = ", ".join(name for name in headers if name not in (*kept, *empty))
    return kept, cells, f"left out, since the terminal is narrow: {hidden}; --json has all" if hidden else ""


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Aligned columns, two spaces apart, as wide as they are: no lines, no colour, nothing cut.

    Args:
        headers: names of the columns.
        rows: cells as text.
        right: headers of the columns that are aligned to the right.
    """
    widths = _widths(headers, rows)
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(headers, row, widths, strict=True)
        ).rstrip()
        for row in (headers, *rows)
    ]


def fitted(headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int, right: Sequence[str] = ()) -> list[str]:
    """A table as wide as it is; where that is wider than a terminal, with its last column in several lines.

    Where too little is left for that, or for one of its words, a block a row: its first cell, then the others.

    Args:
        headers: names of the columns.
        rows: cells as text.
        columns: of the terminal; 0 is no limit.
        right: headers of the columns that are aligned to the right; what takes several lines is not.
    """
    lines = aligned(headers, rows, right)
    if not columns or max(map(len, lines)) <= columns:
        return lines
    if _needed(headers, rows, READABLE) <= columns:
        before = sum(_widths(headers, rows)[:-1]) + 2 * (len(headers) - 1)
        parts = [
            textwrap.wrap(row[-1], columns - before, break_long_words=False, break_on_hyphens=False) or [""]
            for row in (headers, *rows)
        ]
        cut = [(*row[:-1], part[0]) for row, part in zip((headers, *rows), parts, strict=True)]
        return [
            line
            for first, (_, *more) in zip(aligned(cut[0], cut[1:], right), parts, strict=True)
            for line in (first, *(" " * before + other for other in more))
        ]
    blocks = []
    for first, *others in rows:
        blocks.append(first)
        for name, cell in zip(headers[1:], others, strict=True):
            blocks += [f"  {line}" for line in wrapped(f"{name}: {cell}", columns - 2)] if cell else []
    return blocks


def without(
    headers: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], columns: int
) -> tuple[list[str], list[list[str]]]:
    """A table less as many of its spare columns as it takes to fit, the first of them first.

    It fits where the last column can take several lines.

    Args:
        headers: names of the columns.
        rows: cells as text.
        spare: headers of the columns that may go.
        columns: of the terminal.
    """
    kept = list(range(len(headers)))
    for name in (None, *spare):
        kept = [place for place in kept if headers[place] != name]
        names, cells = [headers[place] for place in kept], [[row[place] for place in kept] for row in rows]
        if _needed(names, cells, COMFORT) <= columns:
            break
    return names, cells


def _needed(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> int:
    """Columns of a table whose last column may take several lines of so many columns, or of its longest word."""
    *others, last = _widths(headers, rows)
    return sum(others) + 2 * len(others) + min(last, max(room, _longest_word(headers, rows)))


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(headers, *rows, strict=True)]


def _longest_word(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Letters of the longest word in the last column."""
    return max(len(word) for row in (headers, *rows) for word in row[-1].split() or [""])


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
