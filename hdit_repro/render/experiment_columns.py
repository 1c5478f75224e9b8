"""Columns of an experiment's own table, of its scale: costs, numbers, and how far a row is from what it extends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hdit_repro.audit.replicates import change
from hdit_repro.audit.summary import Measured, summarise
from hdit_repro.cost import count
from hdit_repro.paper.types import GFLOP
from hdit_repro.render.cells import ABSENT, EMPTY, Cell, fixed, significant
from hdit_repro.render.columns import Ours
from hdit_repro.render.contrasts import Contrast
from hdit_repro.render.rows import Row

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Extends:
    """What the file says that a row extends, by the row's key."""

    names: Mapping[str, str]

    def cell(self, row: Row) -> Cell:
        name = self.names.get(row.key)
        return EMPTY if name is None else Cell(name, name)


@dataclass(frozen=True)
class Size:
    """Trainable parameters."""

    def cell(self, row: Row) -> Cell:
        if row.job is None or row.job.run.external:
            return ABSENT
        parameters = count(row.job.run.model, row.job.run.data.resolution).parameters
        return Cell(parameters, fixed(parameters, 0))


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one forward pass of one image at the row's resolution, shown in 10^9."""

    def cell(self, row: Row) -> Cell:
        if row.job is None or row.job.run.external:
            return ABSENT
        macs = count(row.job.run.model, row.job.run.data.resolution).macs
        return Cell(macs, significant(macs / GFLOP))


@dataclass(frozen=True)
class Seeds:
    """How many trainings the records are of."""

    def cell(self, row: Row) -> Cell:
        if row.job is None or row.job.run.external:
            return ABSENT
        seeds = len({record.seed for record in row.records})
        return Cell(seeds, fixed(seeds, 0))


@dataclass(frozen=True)
class Samples:
    """How many samples each number is of."""

    def cell(self, row: Row) -> Cell:
        if row.job is None:
            return ABSENT
        samples = row.job.run.sampling.count
        return Cell(samples, fixed(samples, 0))


@dataclass(frozen=True)
class Named(Ours):
    """A metric by its whole name in the records, "fid@5000"."""

    def found(self, row: Row) -> Measured | None:
        return summarise(row.records, self.metric)

    def cell(self, row: Row) -> Cell:
        if not row.records:
            return Cell(NOT_MEASURED, NOT_MEASURED)
        return super().cell(row) if self.found(row) else ABSENT


@dataclass(frozen=True)
class Change:
    """The difference from what a row extends, as `compare` has it, in percent with its 95 % interval.

    `found` is by the row's key. Numbers of two protocols are not set against each other.
    """

    metric: str
    found: Mapping[str, Contrast]

    def cell(self, row: Row) -> Cell:
        contrast = self.found.get(row.key)
        if contrast is None or contrast.difference is None or contrast.otherwise:
            return EMPTY
        text = change(contrast.difference.log)
        if contrast.interval:
            text += " [{}, {}]".format(*map(change, contrast.difference.interval()))
        numbers = contrast.as_row()
        extra = {f"{self.metric}_change_{name}": numbers[name] for name in ("low", "high", "p")}
        return Cell(numbers["percent"], text, extra)
