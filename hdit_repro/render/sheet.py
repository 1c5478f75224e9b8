"""A table filled in: headings, cells, groups and notes, ready for any format."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from hdit_repro.paper import types as printed
from hdit_repro.records.rows import how
from hdit_repro.records.store import Problem
from hdit_repro.render.cells import Cell, ranked
from hdit_repro.render.columns import Column
from hdit_repro.render.definitions import Table
from hdit_repro.render.notes import notes
from hdit_repro.render.rows import FRECHET, Row

DISPLAY = {"fid": "FID", "inception-score": "IS"}
"""Metrics that the paper has a word for; all others stand under their own name."""


class Head(NamedTuple):
    """A column's headings: one that neighbours may share, and its own. `key` is its csv name."""

    key: str
    upper: str
    own: str
    left: bool

    @property
    def line(self) -> str:
        """Both headings in one line: "GFLOP@128²: counted"."""
        return f"{self.upper}: {self.own}" if self.upper else self.own


class Sheet(NamedTuple):
    """`rows` are parallel to `groups`, the sub-heading that each stands under."""

    name: str
    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[str, ...]
    notes: tuple[str, ...]
    scale: str = "paper"


def build(
    table: Table,
    layout: printed.Table | None,
    rows: Sequence[Row],
    scale: str,
    problems: Sequence[Problem],
    folder: Path,
) -> Sheet:
    """Fill a table in.

    Args:
        layout: the table as it is printed: number, edition, title; None where print has no such table.
        problems: files under `folder` that are no records; the notes name them.
    """
    columns = [column for column in table.columns if column.scales is None or scale in column.scales]
    filled = tuple(zip(*(_fill(column, rows) for column in columns), strict=True))
    return Sheet(
        name=table.name,
        title=_title(table, layout, scale),
        heads=tuple(_head(column, _metric(column, rows), scale) for column in columns),
        rows=filled,
        groups=tuple(row.group for row in rows),
        notes=tuple(notes(table, rows, filled, scale, problems, folder)),
        scale=scale,
    )


def _fill(column: Column, rows: Sequence[Row]) -> list[Cell]:
    """Only numbers of one protocol are set against each other."""
    cells = [column.source.cell(row) for row in rows]
    protocols = {(how(row.records[0]), row.records[0].protocol.samples) for row in rows if row.records}
    return ranked(cells, column.better) if column.better and len(protocols) == 1 else cells


def _metric(column: Column, rows: Sequence[Row]) -> str:
    """What the column's numbers are called: the Fréchet distances of its rows, or the metric that its source names."""
    names = (row.base(getattr(column.source, "metric", FRECHET)) for row in rows if row.job)
    return " / ".join(dict.fromkeys(DISPLAY.get(name, name) for name in names))


def _head(column: Column, metric: str, scale: str) -> Head:
    upper = column.upper + (column.below if scale != "paper" else "")
    return Head(column.key, upper.format(metric=metric, scale=scale), column.head, column.left)


def _title(table: Table, layout: printed.Table | None, scale: str) -> str:
    if layout is None:
        return f"{table.title}, {scale} scale"
    edition = "" if layout.edition == 1 else " of the second edition"
    where = "" if scale == "paper" else f", {scale} scale"
    return f"Table {layout.number}{edition}{where}: {table.title or layout.title}"


def by_group(sheet: Sheet) -> list[tuple[str, list[tuple[Cell, ...]]]]:
    """Neighbouring rows under their sub-heading."""
    pairs = zip(sheet.groups, sheet.rows, strict=True)
    return [(group, [row for _, row in rows]) for group, rows in groupby(pairs, key=lambda pair: pair[0])]
