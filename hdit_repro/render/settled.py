"""Columns that the audit works out, claim by claim: what a job says, what published settings come to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import fmean

from hdit_repro.paper import Claim, Unit
from hdit_repro.render.cells import ABSENT, MARK, NOT_RUN, Cell, Value, fixed
from hdit_repro.render.costs import COST_DIGITS
from hdit_repro.render.ledger import shown
from hdit_repro.render.rows import Row

SECONDS = {Unit.HOURS: 3600, Unit.DAYS: 86_400}

NUMBERS = re.compile(r"(approx\. )?[−-]?[\d\[]")
"""How a print begins that a computed number can be set against."""


@dataclass(frozen=True)
class Settled:
    """The computed value of the ledger's cell, marked where it is not the printed one."""

    column: str

    def cell(self, row: Row) -> Cell:
        claim, settled = row.claims.get(self.column), row.verdicts.get(self.column)
        if claim is None or settled is None:
            return ABSENT
        text = in_unit(settled.value, claim.unit)
        notes = (f"{_name(row, claim)}: {claim.note}.",) if claim.note else ()
        if settled.agrees:
            return Cell(settled.value, text, remarks=notes)
        return Cell(settled.value, text + MARK, remarks=(_disagreement(row, claim, text), *notes))


@dataclass(frozen=True)
class Doubted:
    """What the paper prints, marked where another source prints something else for the same thing."""

    column: str

    def cell(self, row: Row) -> Cell:
        claim, settled = row.claims.get(self.column), row.verdicts.get(self.column)
        if claim is None:
            return ABSENT
        if settled is None or settled.agrees:
            return Cell(claim.printed, shown(claim))
        remark = _disagreement(row, claim, in_unit(settled.value, claim.unit))
        return Cell(claim.printed, shown(claim) + MARK, remarks=(remark,))


@dataclass(frozen=True)
class Spent:
    """The job's side of a cell that needs a run, on which card or for how long, from the records; else as Settled.

    A time is in print's unit, so that the two can be compared: "5 days" stands beside days.
    """

    column: str

    def cell(self, row: Row) -> Cell:
        claim = row.claims.get(self.column)
        if claim is None or claim.needs != "run":
            return Settled(self.column).cell(row)
        records = row.recorded.get(self.column, ())
        if not records:
            return Cell(NOT_RUN, NOT_RUN)
        if claim.unit is Unit.TEXT:
            devices = ", ".join(dict.fromkeys(record.provenance.training_hardware for record in records))
            return Cell(devices, devices)
        trainings = {record.training_id: record.provenance.seconds.get("train", 0.0) for record in records}
        time = fmean(trainings.values()) / SECONDS[claim.unit]
        return Cell(time, f"{fixed(time, 1)} {claim.unit}")


def beside(value: Value, claim: Claim) -> str:
    """What comes out, as it stands beside the print; empty where a number would stand beside words or a formula."""
    if value is None or (isinstance(value, int | float) and not NUMBERS.match(claim.text)):
        return ""
    return in_unit(value, claim.unit)


def in_unit(value: Value, unit: Unit) -> str:
    """A computed value with one digit more than print has, where it is a large number: "557.4M", "64.72"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if unit is Unit.PERCENT:
        return f"{'−' if value < 0 else ''}{fixed(abs(value), 1)}%"
    if unit is Unit.GFLOP:
        return fixed(value, COST_DIGITS)
    for size, letter in ((10**9, "B"), (10**6, "M")):
        if value >= size and unit in (Unit.PARAMETERS, Unit.IMAGES, Unit.STEPS):
            return f"{fixed(value / size, 0 if value % size == 0 else 1 if letter == 'M' else 2)}{letter}"
    return fixed(value, 0) if value == int(value) and value >= 1000 else f"{value:g}"


def _name(row: Row, claim: Claim) -> str:
    """The cell in words: "HDiT (Ours), It. × BS"."""
    return claim.place.partition(", ")[2] or row.label


def _disagreement(row: Row, claim: Claim, text: str) -> str:
    reason = f" ({claim.reason})" if claim.reason else ""
    return f"{MARK} {_name(row, claim)}: {text}, where print says {shown(claim)}{reason}."
