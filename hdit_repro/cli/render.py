"""`render-tables`: from records to tables and figures."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, left_out, near
from hdit_repro.errors import UserError

app = group()


@app.command("render-tables")
def render_tables(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="Only the table of this experiment, yours or ours.")
    ] = None,
    scale: options.Scale = "paper",
    tables: Annotated[
        str | None, typer.Option("--tables", metavar="table1,figure2", help="Only these tables and figures.")
    ] = None,
    own: options.OwnData = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where to; default: the scale's.")] = None,
    as_objects: options.Json = False,
) -> None:
    """Render the tables of a scale, with figures and the README's blocks at paper scale, and print the files.

    Example: hdit-repro render-tables mine --scale smoke
    """
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.render.everything import render, render_experiment

    chosen = options.names(tables)
    if chosen is not None and not chosen:
        raise UserError(
            "no table is named",
            found=f"--tables {tables}",
            expected="names with commas",
            fix="leave --tables out for all tables and figures",
        )
    if experiment is not None and chosen is not None:
        raise UserError(
            "an experiment and tables of the paper are asked for at once",
            found=f"{experiment} --tables {tables}",
            expected="one of the two",
            fix=f"hdit-repro render-tables {quote(experiment)} --scale {scale}",
        )
    if experiment is None and own is not None:
        raise UserError(
            "the paper's tables are not of images of your own",
            found=f"--data {own}",
            expected="an experiment with it",
            fix=f"hdit-repro render-tables table1 --scale {scale}{options.on_data(own)}",
        )
    if experiment is not None:
        written = render_experiment(experiment, scale, workplace(), out, options.own_data(own))
    else:
        written = render(scale, workplace(), out, chosen, beside=True)
        left_out(jobs.misread() if chosen is None else ())
    if as_objects:
        as_json([str(item.path) for item in written])
        return
    for item in written:
        data(f"{item.kind:<8} {near(item.path)}")
