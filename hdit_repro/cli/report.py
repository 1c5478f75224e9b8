"""`report`: one folder of pages to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, left_out, near, remark
from hdit_repro.errors import counted

app = group()


@app.command("report")
def report(
    scale: options.Scale = "paper",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to; default: runs/report/SCALE.")
    ] = None,
    as_objects: options.Json = False,
) -> None:
    """Make a report of what is reproduced, as pages that open from disk and as markdown, and print its path.

    Example: hdit-repro report --scale smoke
    """
    from hdit_repro import jobs
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.render.report import build

    built = build(scale, workplace(), out)
    left_out(jobs.misread())
    if as_objects:
        as_json({**built._asdict(), "folder": str(built.folder), "first": str(built.first)})
        return
    data(f"report   {near(built.first)}")
    pages, records = counted(built.pages, "page"), counted(built.records, "record")
    remark(f"{pages} from {records}; {counted(built.problems, 'file')} left out")
