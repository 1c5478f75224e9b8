"""Where a column's cells come from. A table is a list of columns; each source below makes one cell of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hdit_repro.cost import at_resolution, count
from hdit_repro.render import measured
from hdit_repro.render.cells import EMPTY, MARK, NOT_RUN, Cell, Value, fixed, signed, significant
from hdit_repro.render.complexity import growth
from hdit_repro.render.rows import Row

GIGA = 1_000_000_000
"""MACs in the paper's GFLOP."""

COST_DIGITS = 2
"""Decimals of a counted cost in 10^9 MACs: enough to see which way it rounds."""

MEASURED_DIGITS = 2
"""Decimals of a Fréchet distance, as printed."""


class Source(Protocol):
    """Makes the cell of a row."""

    def cell(self, row: Row) -> Cell: ...


class Column(NamedTuple):
    """A column: its csv name, a heading over neighbours that share it, its own heading, its source.

    Headings may name `{metric}` and `{scale}`; `below` is added to the upper heading of tables below paper scale.
    `scales` of None is all; `measured` columns get the best two marked.
    """

    key: str
    upper: str
    head: str
    source: Source
    below: str = ""
    scales: tuple[str, ...] | None = None
    left: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Label:
    """The row's name and what it is, in the paper's words."""

    def cell(self, row: Row) -> Cell:
        text = f"{row.job.row} {row.job.label}" if row.job.label != row.job.row else row.job.row
        return Cell(row.job.label, text, {"run": row.job.name, "group": row.job.group})


@dataclass(frozen=True)
class FromLedger:
    """What the paper prints."""

    column: str

    def cell(self, row: Row) -> Cell:
        printed = row.printed.get(self.column)
        return EMPTY if printed is None else Cell(printed.value, printed.text)


@dataclass(frozen=True)
class Ours:
    """The measured number: mean ± sample standard deviation and n over seeds, or one value with its interval."""

    def cell(self, row: Row) -> Cell:
        found = row.measured
        if found is None:
            others = sorted({name for record in row.records for name in record.metrics if _base(name) == row.metric})
            return Cell(NOT_RUN, f"only {', '.join(others)}" if others else NOT_RUN)
        text = fixed(found.mean, MEASURED_DIGITS)
        if found.sd is not None:
            text += f" ± {fixed(found.sd, MEASURED_DIGITS)} (n = {found.seeds})"
        low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
        if low is not None and high is not None:
            text += f" [{fixed(low, MEASURED_DIGITS)}, {fixed(high, MEASURED_DIGITS)}]"
        extra: dict[str, Value] = {
            "ours_metric": found.name,
            "ours_scale": row.job.scale,
            "ours_samples": found.records[0].protocol.samples,
            "ours_seeds": found.seeds,
            "ours_sd": found.sd,
            "ours_low": low,
            "ours_high": high,
            "ours_records": " ".join(record.evaluation_id for record in found.records),
        }
        return Cell(found.mean, text, extra, compare=round(found.mean, MEASURED_DIGITS))


@dataclass(frozen=True)
class Difference:
    """Ours less print. Shown at paper scale only, where the note names both protocols."""

    column: str

    def cell(self, row: Row) -> Cell:
        found, printed = row.measured, row.printed.get(self.column)
        if row.job.scale != "paper" or found is None or printed is None or not isinstance(printed.value, int | float):
            return EMPTY
        difference = found.mean - printed.value
        return Cell(difference, signed(difference, MEASURED_DIGITS))


@dataclass(frozen=True)
class Counted:
    """Counted cost of one forward pass at a resolution, in 10^9 MACs; marked where it does not round to print."""

    resolution: int
    column: str

    def cell(self, row: Row) -> Cell:
        macs = count(at_resolution(row.paper.run.model, self.resolution), self.resolution).macs
        mark = MARK if differs(macs, row, self.column) else ""
        return Cell(macs, fixed(macs / GIGA, COST_DIGITS) + mark)


def differs(macs: int, row: Row, column: str) -> bool:
    """Whether a counted cost, rounded to 10^9 MACs, is another number than the printed one."""
    printed = row.printed.get(column)
    return printed is not None and isinstance(printed.value, int | float) and round(macs / GIGA) != printed.value


@dataclass(frozen=True)
class Complexity:
    """Growth of the counted cost with the number of pixels."""

    def cell(self, row: Row) -> Cell:
        text = growth(row.paper.run.model).text
        return Cell(text.replace("²", "^2"), text)


@dataclass(frozen=True)
class Parameters:
    """Counted trainable parameters at the row's own resolution, in millions."""

    def cell(self, row: Row) -> Cell:
        parameters = count(row.paper.run.model, row.paper.run.model.resolution).parameters
        return Cell(parameters, f"{fixed(parameters / 1e6, 1)}M")


@dataclass(frozen=True)
class Context:
    """The mean of a companion value (`records.schema.CONTEXT`) over the row's records."""

    name: str

    def cell(self, row: Row) -> Cell:
        value = measured.context_mean(row.records, self.name)
        return (
            Cell(NOT_RUN if not row.records else None, NOT_RUN if not row.records else "")
            if value is None
            else Cell(value, significant(value))
        )


@dataclass(frozen=True)
class Ratio:
    """Ours over a companion value: below 1 when training did something."""

    name: str

    def cell(self, row: Row) -> Cell:
        found, value = row.measured, measured.context_mean(row.records, self.name)
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


def _base(name: str) -> str:
    return name.partition("@")[0]
