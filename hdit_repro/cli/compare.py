"""`compare`: two rows side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, files_left_out, fitted, group, near, remark, width
from hdit_repro.cli.replaced import say_replaced

app = group()


@app.command("compare")
def compare(
    one: options.Run,
    other: Annotated[str, typer.Argument(metavar="RUN", help="The run it is compared with.")],
    scale: options.Scale = "paper",
    own: options.OwnData = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Also make a page with curves and samples there.")
    ] = None,
    as_objects: options.Json = False,
) -> None:
    """Compare two rows by configuration, metrics with intervals, learning curves and samples.

    Example: hdit-repro compare table1/D table1/E --scale smoke --out comparison
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.render.compare import compare as contrast
    from hdit_repro.render.compare import headings, number, said, write_page

    roots = workplace()
    found = contrast(one, other, scale, roots, options.own_data(own))
    page = write_page(found, roots, out) if out is not None else None
    files_left_out(found.left_out)
    if as_objects:
        as_json({**found.as_row(), "page": None if page is None else str(page)})
        return
    cells = [(c.field, said(c.one), said(c.other)) for c in found.changes]
    columns = width(sys.stdout)
    for line in fitted(("field", found.one.name, found.other.name), cells, columns) if cells else ():
        data(line)
    if cells:
        data("")
    rows = [(c.metric, number(c.one), number(c.other), c.words()) for c in found.contrasts]
    for line in fitted(headings(found), rows, columns) if rows else ():
        data(line)
    if found.same:
        remark(f"{found.one.name} and {found.other.name} are one run at {scale} scale")
        say_replaced((found.one, found.other))
    if not found.contrasts:
        remark(f"not both rows have a record with the same metric at {scale} scale")
    if page is not None:
        data(f"\npage     {near(page)}")
