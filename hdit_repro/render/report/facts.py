"""All that the pages tell, worked out once: findings, verdicts, ranks, rows with their records, costs, signatures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.audit import Finding, audit
from hdit_repro.audit.bills import Bills
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.orders import on_orders
from hdit_repro.audit.ranks import Rank, on_tables
from hdit_repro.audit.verdicts import Verdict
from hdit_repro.errors import UserError
from hdit_repro.jobs import Job
from hdit_repro.records import rows, signoff, store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Record
from hdit_repro.records.store import Problem, place
from hdit_repro.render.cells import Cell
from hdit_repro.render.experiments import measured_experiments, sheet_of_experiment
from hdit_repro.render.report.blocks import slug
from hdit_repro.render.sheet import Sheet
from hdit_repro.render.tables import Material, chosen, material, sheet_of


class Entry(NamedTuple):
    """A row that experiments share: its jobs (the first gives the page its name), and its records under one protocol.

    `aside` are those measured otherwise.
    """

    jobs: tuple[Job, ...]
    records: tuple[Record, ...]
    aside: tuple[Record, ...]

    @property
    def job(self) -> Job:
        return self.jobs[0]

    @property
    def names(self) -> set[str]:
        """What its jobs are called, each with the experiment's name before it too where the job leaves it out."""
        return {name for job in self.jobs for name in (job.name, f"{job.experiment}/{job.row}")}

    @property
    def path(self) -> str:
        """The page, without its ending."""
        return f"rows/{slug(self.job.name)}"


class Signed(NamedTuple):
    """Who vouches for a record as it is, and who vouched for it before it was changed."""

    fitting: tuple[str, ...]
    stale: tuple[str, ...]


class Facts(NamedTuple):
    """What the pages are made from. `sheets` are the tables of the paper and of experiments beyond it; `own` those of
    experiments on the user's own images, whose runs have no pages. `orders` are verdicts by claim, at this scale;
    `unknown` are records of no job that stand in no table. `refused` are rows that cannot be at this scale, `misread`
    experiments whose file is not understood, with what is wrong."""

    roots: Roots
    given: Material
    sheets: tuple[Sheet, ...]
    own: tuple[Sheet, ...]
    findings: tuple[Finding, ...]
    orders: dict[str, Verdict]
    ranks: tuple[Rank, ...]
    entries: tuple[Entry, ...]
    unknown: tuple[Record, ...]
    refused: tuple[tuple[str, str], ...]
    misread: tuple[tuple[str, str], ...]
    signed: dict[str, Signed]
    problems: tuple[Problem, ...]
    bills: Bills
    measurements: Measurements

    @property
    def scale(self) -> str:
        return self.given.scale

    @property
    def errata(self) -> tuple[Finding, ...]:
        """What is wrong in print, the first edition's first."""
        found = (item for item in self.findings if item.status == "erratum")
        return tuple(sorted(found, key=lambda item: item.claim.edition))

    @property
    def measured(self) -> tuple[Entry, ...]:
        """The rows with records."""
        return tuple(entry for entry in self.entries if entry.records)


def gather(scale: str, roots: Roots) -> Facts:
    """Read the workplace.

    Raises:
        UserError: an unknown scale, or a ledger or job file that is not understood.
    """
    given = material(scale, roots)
    measurements = Measurements(given.records, scale)  # type: ignore[arg-type]
    bills = Bills()
    findings = audit(given.ledger, given.records)
    if scale == "paper":
        orders = {item.claim.id: item.verdict for item in findings if item.verdict and item.claim.unit == "order"}
    else:
        orders = on_orders(given.ledger, measurements, bills)
    standing = jobs.standing(scale)
    entries, unknown = _entries(given.source.records, scale, standing)
    refused, misread = _refused(standing)
    tables, own = _experiments(given)
    shown = {name for sheet in own for row in sheet.rows for cell in row for name in records_behind(cell)}
    signed, broken = _signed(given.folder, given.records)
    return Facts(
        roots=roots,
        given=given,
        sheets=(*(sheet_of(table, given) for table in chosen(None, scale)), *tables),
        own=own,
        findings=tuple(findings),
        orders=orders,
        ranks=tuple(on_tables(given.ledger, measurements)),
        entries=entries,
        unknown=tuple(record for record in unknown if record.evaluation_id not in shown),
        refused=refused,
        misread=misread,
        signed=signed,
        problems=(*given.problems, *broken),
        bills=bills,
        measurements=measurements,
    )


def _experiments(given: Material) -> tuple[tuple[Sheet, ...], tuple[Sheet, ...]]:
    """The tables of measured experiments that print has none of, and those of the user's own images."""
    found = measured_experiments(given)
    sheets = tuple(sheet_of_experiment(name, given) for name, dataset in found if dataset is None)
    own = tuple(sheet_of_experiment(name, given, dataset) for name, dataset in found if dataset is not None)
    return sheets, own


def records_behind(cell: Cell) -> list[str]:
    """The ids of the records that a measured cell is made from."""
    return next((str(value).split() for key, value in cell.extra.items() if key.endswith("_records") and value), [])


def _refused(standing: Sequence[Job]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Rows that are none of those that can be, by experiment and name; experiments of which none is known, and why."""
    known = {(job.experiment, job.row) for job in standing}
    refused: list[tuple[str, str]] = []
    misread: list[tuple[str, str]] = []
    for experiment in jobs.experiments():
        try:
            refused += [(experiment, row) for row in jobs.read(experiment).rows if (experiment, row) not in known]
        except UserError as error:
            misread.append((experiment, error.problem))
    return tuple(refused), tuple(misread)


def _entries(found: rows.Index, scale: str, standing: Sequence[Job]) -> tuple[tuple[Entry, ...], tuple[Record, ...]]:
    """A row a page: names that are one run share it."""
    places = {job.name: place for place, job in enumerate(standing)}
    shared: dict[str, list[Job]] = {}
    for job in standing:
        shared.setdefault(job.run.row_id, []).append(job)
    entries = []
    for same in shared.values():
        same.sort(key=lambda job: (not job.experiment.startswith("table"), job.name))
        run = same[0].run
        kept, aside = rows.of_row(found, scale, run), rows.set_aside(found, scale, run)
        entries.append(Entry(tuple(same), tuple(kept), tuple(aside)))
    entries.sort(key=lambda entry: (_printed_at(entry.job), places[entry.job.name]))
    unknown = [
        record
        for (kind, key), group in found.items()
        if kind == scale and key not in shared
        for record in (*group.kept, *group.aside)
    ]
    return tuple(entries), tuple(unknown)


def _printed_at(job: Job) -> tuple[object, ...]:
    """Rows of the paper's tables come first, as they are printed, then those of figures, then all others."""
    paper = job.paper
    return paper.table is None, paper.figure is None, paper.edition, paper.table or paper.figure or 0


def _signed(folder: Path, records: Sequence[Record]) -> tuple[dict[str, Signed], list[Problem]]:
    """By evaluation id, for those that anybody signed."""
    under = {file.with_name(file.name.partition(".")[0] + ".json") for file in store.files(folder, signoff.SUFFIX)}
    signed, broken = {}, []
    for record in records if under else ():
        path = place(folder, record)
        if path not in under:
            continue
        try:
            fitting, stale = signoff.vouched(path)
        except UserError as error:
            broken.append(Problem(path, f"{error.problem} ({error.found})"))
            continue
        signed[record.evaluation_id] = Signed(tuple(s.by for s in fitting), tuple(s.by for s in stale))
    return signed, broken
