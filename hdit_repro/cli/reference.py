"""`reference`: statistics of real images that samples are compared with."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import Annotated, get_args, get_type_hints

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark, table
from hdit_repro.errors import UserError, pick

app = group()

LICENCE = "MIT"
"""Of openai/guided-diffusion, which publishes ADM's statistics; of files of other names nothing is known."""
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

    computed = sorted((cache_folder() / "references").glob("*.safetensors"))
    rows = [_added(path) for path in sorted(adm_folder().glob("*.npz"))] + [_computed(path) for path in computed]
    if as_objects:
        as_json(rows)
        return
    columns = ("name", "kind", "resolution", "count", "transform", "extractor", "digest", "licence", "path")
    if rows:
        cells = [tuple(_cell(row, column) for column in columns) for row in rows]
        table(columns, cells, right=("resolution", "count"), spare=columns[:2:-1])
    else:
        remark("none yet; statistics of a data set are computed when they are first needed")


def _cell(row: dict[str, object], column: str) -> str:
    return str(row.get(column, ""))[: 12 if column == "digest" else None]


def _added(path: Path) -> dict[str, object]:
    """A file of others with what it and its name say."""
    from hdit_repro.metrics.adm import facts_of
    from hdit_repro.spec.evaluation import ADM_SIDES

    facts, known = facts_of(path), path.stem in ADM_SIDES
    kind = "damaged" if not facts else "published" if known else "added"
    return {"kind": kind, "name": path.stem, "licence": LICENCE if known else "", "path": str(path), **facts}


def _computed(path: Path) -> dict[str, object]:
    """A computed file with what it says of itself: data set, digest, count, resize, extractor."""
    from hdit_repro.launch.real import facts_in

    facts = facts_in(path)
    broken = "damaged" if os.access(path, os.R_OK) else "unreadable"  # in a cache that others share
    return {"kind": "computed" if facts else broken, "name": path.stem, "path": str(path), **facts}


@reference.command("build")
def build(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="By name: imagenet, ffhq, emoji.")],
    resolution: Annotated[int, typer.Option("--resolution", metavar="N", help="Side in pixels.")],
    transform: Annotated[
        str, typer.Option("--resize", metavar="NAME", help="How it gets there: adm, k-diffusion or none.")
    ] = "k-diffusion",
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", help="Evenly spaced images; all if not said.")
    ] = None,
    extractor: Annotated[
        str, typer.Option("--extractor", metavar="NAME", help="The feature network.")
    ] = "inception-2015",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Compute the statistics of a data set on a feature network, and keep them.

    Example: hdit-repro reference build emoji --resolution 64 --resize none --extractor efficientnet-lite0
    """
    import msgspec

    from hdit_repro.spec.data import DATASETS, Data

    if dataset not in DATASETS and Path(dataset).exists():
        raise UserError(
            "statistics are built of published data sets",
            found=f"{dataset}, images of your own",
            expected=", ".join(DATASETS),
            fix=f"`hdit-repro fid SAMPLES {quote(dataset)}` takes them as they are, and runs with --data keep theirs",
        )
    pick(DATASETS, dataset, kind="data set")
    transform = pick(
        {name: name for name in get_args(get_type_hints(Data)["transform"])}, transform, kind="way to resize"
    )
    try:
        spec = msgspec.convert({"dataset": {"kind": dataset}, "resolution": resolution, "transform": transform}, Data)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(
            "the data set cannot be had at this resolution",
            found=f"--resolution {resolution}: {error}",
            expected="a side in pixels that its images can be brought to",
            fix="hdit-repro reference build emoji --resolution 16 --extractor efficientnet-lite0",
        ) from error
    from hdit_repro.data.datasets import open_dataset
    from hdit_repro.metrics.extractors import extractor_by_name
    from hdit_repro.metrics.reference import dataset_reference, reference_path
    from hdit_repro.stages.device import prepare
    from hdit_repro.stages.settings import Settings

    network = extractor_by_name(extractor, prepare(Settings(device=device)))
    found = dataset_reference(open_dataset(spec), network, count)
    remark(f"{found.whole.count:,} images; between their halves the distance is {found.between_halves():.4g}")
    data(str(reference_path(found.facts)))


@reference.command("add")
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="One of ADM's .npz files, fetched.")],
) -> None:
    """Add a file of ADM's published statistics.

    Example: hdit-repro reference add VIRTUAL_imagenet128_labeled.npz
    """
    from hdit_repro.files import sha256_file
    from hdit_repro.metrics.adm import add_adm

    added = add_adm(path)
    remark(f"SHA-256 {sha256_file(added)}")
    data(str(added))
