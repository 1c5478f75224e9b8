"""`reference`: statistics of real images that samples are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark, table

app = group()
reference = group()
app.add_typer(reference, name="reference")


@reference.callback()
def root() -> None:
    """Bring in published statistics of real images.

    Example: hdit-repro reference list
    """


@reference.command("list")
def list_(as_objects: options.Json = False) -> None:
    """List the published statistics that were added, and those of data sets that were computed here.

    Example: hdit-repro reference list
    """
    from hdit_repro.files import cache_folder
    from hdit_repro.metrics.adm import adm_folder

    folders = {"published": (adm_folder(), "*.npz"), "computed": (cache_folder() / "references", "*.safetensors")}
    rows = [
        {"kind": kind, "name": path.stem, "path": str(path)}
        for kind, (folder, pattern) in folders.items()
        for path in sorted(folder.glob(pattern))
    ]
    if as_objects:
        as_json(rows)
        return
    table(("kind", "name", "path"), [(row["kind"], row["name"], row["path"]) for row in rows])
    if not rows:
        remark("none yet; statistics of a data set are computed when they are first needed")


@reference.command("add")
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="One of ADM's .npz files, fetched.")],
) -> None:
    """Add a file of ADM's published statistics.

    Example: hdit-repro reference add VIRTUAL_imagenet128_labeled.npz
    """
    from hdit_repro.metrics.adm import add_adm

    data(str(add_adm(path)))
