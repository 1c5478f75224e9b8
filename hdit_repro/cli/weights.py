"""`weights`: the feature networks' weights that no package of ours brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark, table
from hdit_repro.errors import UserError

app = group()
weights = group()
app.add_typer(weights, name="weights")


@weights.callback()
def root() -> None:
    """Bring in the weights of feature networks, checked by their digest.

    Example: hdit-repro weights list
    """


@weights.command("list")
def list_(as_objects: options.Json = False) -> None:
    """List the weights that can be added, and which are there.

    Example: hdit-repro weights list
    """
    from hdit_repro.metrics.weights import listing

    rows = listing()
    if as_objects:
        fields = [
            {**row.known._asdict(), "name": row.name, "present": row.present, "path": str(row.path)} for row in rows
        ]
        as_json(fields)
        return
    cells = [
        (row.name, "here" if row.present else "missing", row.known.licence, row.known.file, row.known.url)
        for row in rows
    ]
    table(("name", "state", "licence", "file", "published at"), cells, spare=("file", "licence"))


@weights.command("add")
def add(
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="The file, fetched by hand.")] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Fetch it from here, on a machine with internet.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What it is; found out by its digest if not said.")
    ] = None,
) -> None:
    """Add a file of weights after checking its SHA-256.

    Example: hdit-repro weights add pt_inception-2015-12-05-6726825d.pth
    """
    from hdit_repro.metrics.weights import add as add_weights
    from hdit_repro.metrics.weights import fetch

    if path is not None and url is None:
        data(str(add_weights(path, name)))
    elif url is not None and path is None:
        data(str(fetch(url, name, tenths(remark))))
    else:
        raise UserError(
            "weights come from one place",
            found="neither PATH nor --url" if path is None else f"{path} and --url {url}",
            expected="a file or an address",
            fix="name one of them: hdit-repro weights add PATH",
        )


def tenths(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A line a tenth of what is fetched, for files whose length is known."""
    said = 0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if total and done * 10 // total > said:
            said = done * 10 // total
            say(f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    return progress
