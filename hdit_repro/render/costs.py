"""Columns that are counted from the configuration at paper scale: cost, growth, parameters."""

from __future__ import annotations

from dataclasses import dataclass

from hdit_repro.cost import at_resolution, count
from hdit_repro.cost.complexity import growth
from hdit_repro.paper.types import GFLOP
from hdit_repro.render.cells import ABSENT, MARK, Cell, fixed
from hdit_repro.render.ledger import shown
from hdit_repro.render.rows import Row

COST_DIGITS = 2
"""Decimals of a counted cost in 10^9 MACs: enough to see which way it rounds."""


@dataclass(frozen=True)
class Counted:
    """Counted cost of one forward pass, in 10^9 MACs; marked where it does not round to print.

    `resolution` (a side in pixels) of None is the row's own.
    """

    column: str
    resolution: int | None = None

    def cell(self, row: Row) -> Cell:
        if row.paper is None or row.paper.run.external:
            return ABSENT
        model = row.paper.run.model
        side = self.resolution or model.resolution
        macs = count(at_resolution(model, side), side).macs
        text = fixed(macs / GFLOP, COST_DIGITS)
        claim = row.claims.get(self.column)
        if claim is None or round(macs / GFLOP) == claim.printed:
            return Cell(macs, text)
        remark = (
            f"{MARK} {row.key} at {side}²: {text} rounds to {fixed(macs / GFLOP, 0)}, and print says {shown(claim)}"
            f"{f' ({claim.reason})' if claim.reason else ''}."
        )
        return Cell(macs, text + MARK, remarks=(remark,))


@dataclass(frozen=True)
class Complexity:
    """Growth of the counted cost with the number of pixels; marked where print has another class."""

    column: str

    def cell(self, row: Row) -> Cell:
        if row.paper is None or row.paper.run.external:
            return ABSENT
        text = growth(row.paper.run.model).text
        value, claim = text.replace("²", "^2"), row.claims.get(self.column)
        if claim is None or claim.printed == value:
            return Cell(value, text)
        return Cell(value, text + MARK, remarks=(f"{MARK} {row.key}: {text}, and print says {shown(claim)}.",))


@dataclass(frozen=True)
class Parameters:
    """Counted trainable parameters at the row's own resolution; marked where they do not round to print."""

    column: str = ""

    def cell(self, row: Row) -> Cell:
        if row.paper is None or row.paper.run.external:
            return ABSENT
        model = row.paper.run.model
        parameters = count(model, model.resolution).parameters
        text = f"{fixed(parameters / 1e6, 1)}M"
        claim = row.claims.get(self.column)
        if claim is None or round(parameters, -6) == claim.printed:
            return Cell(parameters, text)
        return Cell(parameters, text + MARK, remarks=(f"{MARK} {row.key}: {text}, and print says {shown(claim)}.",))
