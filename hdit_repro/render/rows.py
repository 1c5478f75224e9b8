"""A row of a table before it becomes cells: print, its job at the table's scale and at the paper's, and records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.summary import Measured, summarise
from hdit_repro.jobs import Job
from hdit_repro.paper import Claim, Ledger
from hdit_repro.records.rows import Index, of_row, set_aside
from hdit_repro.records.schema import Record, asked_samples, metric_name
from hdit_repro.render import measured
from hdit_repro.render.judge import Judge, Verdict
from hdit_repro.render.ledger import claims_of
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import metric_names

FRECHET, INCEPTION_SCORE = "frechet", "inception-score"
"""Metrics that tables ask for; the first stands for whichever Fréchet distance the row's extractor gives."""

SIDES = PRECISION, RECALL = "precision", "recall"


class Row(NamedTuple):
    """What a table knows of a row.

    `key`, `label` and `group` are print's, or the job's where print does not have the row. `job` is at the table's
    scale; `paper` is the same row at paper scale, from which all costs are counted; both are None where the row is no
    single job's. `records` are those of this scale and one protocol, `aside` those measured otherwise. By the ledger's
    columns: `claims` are the printed cells, `verdicts` what the audit makes of those that can be checked, `recorded`
    the records of cells with a job of their own, `judged` the verdicts on those that were measured, in words.
    """

    key: str
    label: str
    group: str
    job: Job | None
    paper: Job | None
    records: tuple[Record, ...]
    aside: tuple[Record, ...]
    claims: Mapping[str, Claim]
    verdicts: Mapping[str, Verdict]
    recorded: Mapping[str, tuple[Record, ...]]
    judged: Mapping[str, str]

    def base(self, metric: str = FRECHET) -> str:
        """The name of a metric without a count: the run's own Fréchet distance ("fid"), or `metric` itself.

        Precision and recall stand for those on the run's extractor.
        """
        if self.job is None:
            return metric
        if metric == FRECHET:
            return measured.frechet_name(self.job.run)
        if metric in SIDES:
            return metric_names("precision-recall", kind_of(self.job.run.evaluation.extractor))[SIDES.index(metric)]
        return metric

    def measured(self, metric: str = FRECHET) -> Measured | None:
        """The row's number of a metric over its records; a run that draws 5,000 samples has a "fid@5000"."""
        if self.job is None or not self.records:
            return None
        count = self.job.run.sampling.count
        name = metric_name(self.base(metric), count, asked_samples(self.records[0].scale, count))
        return summarise(self.records, name)


class Source(NamedTuple):
    """What rows are made from: print, the audit's judge over it, records by scale and row, verdicts by claim."""

    ledger: Ledger
    judge: Judge
    records: Index
    judged: Mapping[str, str] = MappingProxyType({})


def rows_of(source: Source, table: str, experiment: str, scale: str) -> list[Row]:
    """The rows that print has, in its order, then those that the experiment's job file has beyond them and that can be
    at the scale.

    Args:
        table: the ledger's name of the table; empty where print has none.
        experiment: whose further rows are wanted; empty for none.
        scale: of the jobs and their records.
    """
    layout = source.ledger.tables[table].rows if table else ()
    claims = claims_of(source.ledger, table) if table else {}
    rows = [_row(source, row.key, row.label, row.group, row.run, scale, claims[row.key]) for row in layout]
    known = {row.run for row in layout}
    for job in jobs.rows_of(experiment, scale)[0] if experiment else ():
        name = f"{job.experiment}/{job.row}"
        if name not in known:
            rows.append(_row(source, job.row, job.label, job.group, name, scale, {}))
    return rows


def row_of(source: Source, job: Job, key: str) -> Row:
    """A row that print does not have, from its job alone."""
    kept = of_row(source.records, job.scale, job.run)
    aside = set_aside(source.records, job.scale, job.run)
    return Row(key, job.label, job.group, job, None, tuple(kept), tuple(aside), {}, {}, {}, {})


def _row(
    source: Source, key: str, label: str, group: str, run: str | None, scale: str, claims: Mapping[str, Claim]
) -> Row:
    def records(job: Job) -> tuple[Record, ...]:
        return tuple(of_row(source.records, scale, job.run))

    job = jobs.find(run, scale) if run else None
    return Row(
        key=key,
        label=label,
        group=group,
        job=job,
        paper=jobs.find(run) if run else None,
        records=records(job) if job else (),
        aside=tuple(set_aside(source.records, scale, job.run)) if job else (),
        claims=claims,
        verdicts=source.judge(claims),
        recorded={
            column: records(jobs.find(claim.run, scale))
            for column, claim in claims.items()
            if claim.run and claim.run != run
        },
        judged={column: source.judged[claim.id] for column, claim in claims.items() if claim.id in source.judged},
    )
