"""A row of a table before it becomes cells: its job at the table's scale and at the paper's, print, and records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.jobs import Job
from hdit_repro.records.schema import Record
from hdit_repro.render import measured
from hdit_repro.render.ledger import Printed


class Row(NamedTuple):
    """What a table knows of a row. `job` is at the table's scale; `paper` is the same row at paper scale, from which
    all costs are counted; `printed` maps the ledger's columns to cells; `records` are those of this scale."""

    job: Job
    paper: Job
    printed: Mapping[str, Printed]
    records: tuple[Record, ...]

    @property
    def metric(self) -> str:
        """The base name of the row's Fréchet distance."""
        return measured.frechet_name(self.job.run)

    @property
    def measured(self) -> measured.Measured | None:
        return measured.summarise(list(self.records), self.metric)


def rows_of(
    experiment: str, scale: str, printed: Mapping[str, Mapping[str, Printed]], found: measured.Index
) -> list[Row]:
    """The rows of an experiment in the order of its file.

    Args:
        printed: the ledger's cells by run name ("table1/E") and column.
        found: records by scale and row.
    """
    pairs = zip(jobs.load(experiment, scale), jobs.load(experiment, "paper"), strict=True)
    return [
        Row(job, paper, printed.get(job.name, {}), tuple(measured.of_row(found, scale, job.run)))
        for job, paper in pairs
    ]
