"""`fid`: two sets of images under named protocols. `export`: a run's samples for others' evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark, table
from hdit_repro.cli.protocols import kinds_of, plain, protocols_of, quiet, show_rows
from hdit_repro.errors import UserError

app = group()

SIDE_HELP = "A folder or zip of images, an .npz (ADM's arr_0, or mu and sigma), or a cached reference."
PRECISIONS = ("float32", "bfloat16")


@app.command("fid")
def fid(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"The samples. {SIDE_HELP}")],
    b: Annotated[Path, typer.Argument(metavar="B", help=f"The reference. {SIDE_HELP}")],
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="NAMES", help="Feature networks: all, or names with commas.")
    ] = "inception-2015",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="KINDS", help="all, or kinds with commas: frechet, kernel, ...")
    ] = "frechet",
    curve: Annotated[
        bool, typer.Option("--curve", help="Show how the distance falls with the number of samples.")
    ] = False,
    precision: Annotated[
        str, typer.Option("--precision", metavar="TYPE", help="float32, or bfloat16 for Inception (another number).")
    ] = "float32",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="CPU threads; 0 leaves torch's choice.")] = 0,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Threads that decode; 0 is one a core.")] = 0,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Images decoded at a time.")] = 64,
    as_objects: options.Json = False,
) -> None:
    """Compare two sets of images, or their saved statistics, under named protocols.

    Example: hdit-repro fid samples.zip reference.npz --protocol all
    """
    names, kinds = protocols_of(protocol), kinds_of(metrics)
    if precision not in PRECISIONS:
        raise UserError("there is no such precision", found=precision, expected=", ".join(PRECISIONS))
    if batch < 1 or workers < 0 or threads < 0:
        raise UserError("a count is too small", found=f"--batch {batch} --workers {workers} --threads {threads}")
    _Comparison(a, b, device, threads, workers).show(names, kinds, precision, batch, curve, as_objects)


class _Comparison:
    """Both sides, opened; what is measured on them, printed."""

    def __init__(self, a: Path, b: Path, device: str, threads: int, workers: int) -> None:
        from hdit_repro.stages.compare import check_sizes, open_side
        from hdit_repro.stages.device import prepare
        from hdit_repro.stages.settings import Settings

        self.device = prepare(Settings(device=device, threads=threads))
        self.a, self.b = open_side(a, workers), open_side(b, workers)
        check_sizes(self.a, self.b)

    def show(self, names, kinds, precision, batch, curve, as_objects) -> None:  # type: ignore[no-untyped-def]
        raise NotImplementedError
