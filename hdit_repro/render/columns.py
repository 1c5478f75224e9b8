"""Where a column's cells come from. A table is a list of columns; each source makes one cell of a row.

Here: names, print, and what was measured. `costs.py` has what is counted, `settled.py` what the audit works out,
`companions.py` the numbers that stand beside a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from hdit_repro.audit.summary import Measured
from hdit_repro.render import measured
from hdit_repro.render.cells import ABSENT, EMPTY, NOT_RUN, Cell, Value, deviation, fixed, signed
from hdit_repro.render.ledger import shown
from hdit_repro.render.rows import FRECHET, Row

MEASURED_DIGITS = 2
"""Decimals of a Fréchet distance, as printed."""


class Source(Protocol):
    """Makes the cell of a row."""

    def cell(self, row: Row) -> Cell: ...


class Column(NamedTuple):
    """A column: its csv name, a heading over neighbours that share it, its own heading, its source.

    Headings may name `{metric}` and `{scale}`; `below` is added to the upper heading of tables below paper scale.
    `scales` of None is all; in a column with `better`, the best two are marked.
    """

    key: str
    upper: str
    head: str
    source: Source
    below: str = ""
    scales: tuple[str, ...] | None = None
    left: bool = False
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True)
class Label:
    """The row in the paper's words, behind its key where the table's rows have letters. A label that is the row's own
    name, as of a row that says none, is not said after a key that ends in it."""

    keyed: bool = False

    def cell(self, row: Row) -> Cell:
        name = row.key.rpartition("/")[2]
        rest = row.label.removeprefix(name) if f"{row.label}, ".startswith(f"{name}, ") else f" {row.label}"
        text = f"{row.key}{rest}" if self.keyed else row.label
        extra = {"run": row.job.name if row.job else None, "group": row.group or None}
        return Cell(row.label, text, extra)


@dataclass(frozen=True)
class Guidance:
    """The guidance weight that a row's samples are drawn with."""

    def cell(self, row: Row) -> Cell:
        if row.job is None:
            return ABSENT
        weight = row.job.run.sampling.guidance
        return Cell(weight, f"{weight:g}")


@dataclass(frozen=True)
class FromLedger:
    """What the paper prints."""

    column: str

    def cell(self, row: Row) -> Cell:
        claim = row.claims.get(self.column)
        return EMPTY if claim is None else Cell(claim.printed, shown(claim))


@dataclass(frozen=True)
class Ours:
    """The measured number: mean ± sample standard deviation and n over seeds, or one value with its interval.

    `prefix` begins the names of its further csv columns.
    """

    metric: str = FRECHET
    digits: int = MEASURED_DIGITS
    prefix: str = "ours"

    def found(self, row: Row) -> Measured | None:
        """The row's number; None where it has none."""
        return row.measured(self.metric)

    def cell(self, row: Row) -> Cell:
        if row.job is None:
            return ABSENT
        found = self.found(row)
        if found is None:
            return Cell(NOT_RUN, NOT_RUN)
        text = fixed(found.mean, self.digits)
        if found.sd is not None:
            text += f" ± {deviation(found.sd, self.digits)} (n = {found.seeds})"
        low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
        if low is not None and high is not None:
            text += f" [{fixed(low, self.digits)}, {fixed(high, self.digits)}]"
        extra: dict[str, Value] = {
            "metric": found.name,
            "scale": row.job.scale,
            "samples": found.records[0].protocol.samples,
            "seeds": found.seeds,
            "sd": found.sd,
            "low": low,
            "high": high,
            "values": " ".join(f"{seed}:{value:.6g}" for seed, value in measured.each(found)),
            "records": " ".join(record.evaluation_id for record in found.records),
        }
        named = {f"{self.prefix}_{name}": value for name, value in extra.items()}
        return Cell(found.mean, text, named, compare=round(found.mean, self.digits))


@dataclass(frozen=True)
class Difference:
    """Ours less print. Shown at paper scale only, where the note names both protocols."""

    column: str
    metric: str = FRECHET
    digits: int = MEASURED_DIGITS

    def cell(self, row: Row) -> Cell:
        found, claim = row.measured(self.metric), row.claims.get(self.column)
        if row.job is None or row.job.scale != "paper" or found is None or claim is None:
            return EMPTY
        if not isinstance(claim.printed, int | float):
            return EMPTY
        difference = found.mean - claim.printed
        return Cell(difference, signed(difference, self.digits))
