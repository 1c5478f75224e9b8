"""`render-tables`: from records to tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group

app = group()


@app.command("render-tables")
def render_tables(
    scale: options.Scale = "paper",
    tables: Annotated[str | None, typer.Option("--tables", metavar="table1", help="Only these tables.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where to; default: the scale's.")] = None,
    as_objects: options.Json = False,
) -> None:
    """Render the tables of a scale from its records, and print the files.

    Example: hdit-repro render-tables --scale smoke
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.render.tables import render_tables as render

    written = render(scale, workplace(), out, options.names(tables))
    if as_objects:
        as_json([str(path) for path in written])
        return
    for path in written:
        data(f"table    {path}")
