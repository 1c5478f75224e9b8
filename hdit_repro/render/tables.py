"""From a workplace to rendered tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from hdit_repro import jobs, paper
from hdit_repro.errors import UserError, pick
from hdit_repro.files import write_text
from hdit_repro.jobs import SCALES
from hdit_repro.paper import Ledger
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.rows import index
from hdit_repro.records.schema import Record
from hdit_repro.render.booktabs import latex
from hdit_repro.render.definitions import TABLES, Table
from hdit_repro.render.formats import csv, markdown
from hdit_repro.render.judge import judge_of, judged
from hdit_repro.render.notes import left_out
from hdit_repro.render.rows import Source, rows_of
from hdit_repro.render.sheet import Sheet, build

WRITERS: dict[str, Callable[[Sheet], str]] = {"md": markdown, "tex": latex, "csv": csv}


class Material(NamedTuple):
    """What tables and figures of one scale are made from; `folder` is where the records and `problems` lie."""

    scale: str
    ledger: Ledger
    records: list[Record]
    problems: list[store.Problem]
    folder: Path
    source: Source


def material(scale: str, roots: Roots, ledger: Ledger | None = None) -> Material:
    """Read records and ledger.

    Args:
        scale: "paper", "mini" or "smoke".
        roots: the workplace whose records are read.
        ledger: what the paper prints; None is the project's own.

    Raises:
        UserError: an unknown scale.
    """
    pick(dict.fromkeys(SCALES), scale, kind="scale")
    ledger = ledger or paper.read()
    folder = roots.records(scale)
    records, problems = store.load(folder)
    source = Source(ledger, judge_of(ledger), index(records), judged(ledger, records, scale))
    return Material(scale, ledger, records, problems, folder, source)


def table_folder(scale: str, roots: Roots) -> Path:
    """Where a scale's tables go: `tables/` for paper, `tables/mini/`, and `runs/tables/smoke/`, which is not in git."""
    if scale == "smoke":
        return roots.runs / "tables" / scale
    tables = roots.results.parent / "tables"
    return tables if scale == "paper" else tables / scale


def sheet_of(table: Table, given: Material) -> Sheet:
    """A table filled in. Further rows of its experiment that cannot be at this scale are left out, and notes say so."""
    rows = rows_of(given.source, table.ledger, table.experiment, given.scale)
    if table.experiment:
        stand = {row.job.row for row in rows if row.job and row.job.experiment == table.experiment}
        absent = [(table.experiment, row) for row in jobs.read(table.experiment).rows if row not in stand]
        table = table._replace(notes=(*table.notes, *left_out(absent, given.scale)))
    layout = given.ledger.tables[table.ledger] if table.ledger else None
    return build(table, layout, rows, given.scale, given.problems, given.folder)


def render_tables(given: Material, out: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Render tables into `out`; returns the files in the order they were written.

    Args:
        given: of the scale that is rendered.
        out: the folder to write to.
        names: tables by name ("table1"); None is all that this scale has.

    Raises:
        UserError: an unknown table, or one that this scale does not have.
    """
    return [path for table in chosen(names, given.scale) for path in write(sheet_of(table, given), table.formats, out)]


def chosen(names: Iterable[str] | None, scale: str) -> list[Table]:
    """The tables asked for, or all that a scale has.

    Raises:
        UserError: an unknown table, or one that this scale does not have.
    """
    if names is None:
        return [table for table in TABLES.values() if scale in table.scales]
    tables = [pick(TABLES, name, kind="table") for name in names]
    for table in tables:
        if scale not in table.scales:
            raise UserError(
                f"{table.name} is not made at {scale} scale",
                found=scale,
                expected=", ".join(table.scales),
                fix=f"hdit-repro render-tables --scale {table.scales[0]}",
            )
    return tables


def write(sheet: Sheet, formats: Iterable[str], out: Path) -> list[Path]:
    """A filled table as files of these formats ("md", "tex", "csv") in `out`."""
    paths = []
    for name in formats:
        path = out / f"{sheet.name}.{name}"
        write_text(path, WRITERS[name](sheet))
        paths.append(path)
    return paths
