"""From a workplace to rendered tables: `hdit-repro render-tables`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hdit_repro.errors import UserError, pick
from hdit_repro.files import write_text
from hdit_repro.jobs import SCALES
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.render import ledger, measured
from hdit_repro.render.definitions import TABLES, Table
from hdit_repro.render.formats import csv, latex, markdown
from hdit_repro.render.ledger import Printed
from hdit_repro.render.rows import rows_of
from hdit_repro.render.sheet import Sheet, build

WRITERS: dict[str, Callable[[Sheet], str]] = {"md": markdown, "tex": latex, "csv": csv}

Cells = Mapping[str, Mapping[str, Printed]]


def table_folder(scale: str, roots: Roots) -> Path:
    """Where a scale's tables go: `tables/` for paper, `tables/mini/`, and `runs/tables/smoke/`, which is not in git."""
    if scale == "smoke":
        return roots.runs / "tables" / scale
    tables = roots.results.parent / "tables"
    return tables if scale == "paper" else tables / scale


def render_tables(
    scale: str,
    roots: Roots,
    out: Path | None = None,
    names: Iterable[str] | None = None,
    printed: Callable[[str], Cells] = ledger.cells,
) -> list[Path]:
    """Render the tables of one scale from its records alone; returns the files in the order they were written.

    Args:
        scale: "paper", "mini" or "smoke".
        roots: the workplace whose records are read.
        out: the folder to write to; None is `table_folder`.
        names: tables by name ("table1"); None is all that this scale has.
        printed: the ledger's cells of a table, by run and column.

    Raises:
        UserError: an unknown scale or table, or a table that this scale does not have.
    """
    pick(dict.fromkeys(SCALES), scale, kind="scale")
    tables = chosen(names, scale)
    folder = roots.records(scale)
    records, problems = store.load(folder)
    found = measured.index(records)
    written: list[Path] = []
    for table in tables:
        rows = rows_of(table.experiment, scale, printed(table.ledger), found)
        sheet = build(table, rows, scale, problems, folder)
        written += _write(sheet, table.formats, out or table_folder(scale, roots))
    return written


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


def _write(sheet: Sheet, formats: Iterable[str], out: Path) -> list[Path]:
    paths = []
    for name in formats:
        path = out / f"{sheet.name}.{name}"
        write_text(path, WRITERS[name](sheet))
        paths.append(path)
    return paths
