"""Columns of the numbers that stand beside a measurement and are no results themselves."""

from __future__ import annotations

from dataclasses import dataclass

from hdit_repro.render import measured
from hdit_repro.render.cells import EMPTY, NOT_RUN, Cell, fixed, significant
from hdit_repro.render.rows import Row


@dataclass(frozen=True)
class Context:
    """The mean of a companion value (`records.schema.CONTEXT`) over the row's records."""

    name: str

    def cell(self, row: Row) -> Cell:
        value = measured.context_mean(row.records, self.name)
        if value is not None:
            return Cell(value, significant(value))
        return EMPTY if row.records else Cell(NOT_RUN, NOT_RUN)


@dataclass(frozen=True)
class Ratio:
    """Ours over a companion value: below 1 when training did something."""

    name: str

    def cell(self, row: Row) -> Cell:
        found, value = row.measured(), measured.context_mean(row.records, self.name)
        if found is None or not value:
            return EMPTY
        return Cell(found.mean / value, fixed(found.mean / value, 3))


@dataclass(frozen=True)
class Smaller:
    """Whether one companion value is smaller than another."""

    name: str
    than: str

    def cell(self, row: Row) -> Cell:
        left, right = (measured.context_mean(row.records, name) for name in (self.name, self.than))
        if left is None or right is None:
            return EMPTY
        return Cell(left < right, "yes" if left < right else "no")
