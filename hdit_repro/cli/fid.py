"""`fid`: two sets of images under named protocols. `export`: a run's samples for others' evaluators."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark, table
from hdit_repro.cli.protocols import kinds_of, plain, protocols_of, quiet, show_rows
from hdit_repro.errors import UserError
from hdit_repro.spec.evaluation import FRECHET_NAMES, MetricKind

if TYPE_CHECKING:
    from hdit_repro.metrics.extractors import Precision
    from hdit_repro.stages.compare import Row

app = group()

SIDE_HELP = "A folder or zip of images, an .npz (ADM's arr_0, or mu and sigma), or a cached reference."


class Floats(StrEnum):
    """What a network computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


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
        Floats, typer.Option("--precision", help="float32, or bfloat16 for Inception (another number).")
    ] = Floats.float32,
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
    if batch < 1 or workers < 0 or threads < 0:
        raise UserError(
            "a count is too small",
            found=f"--batch {batch} --workers {workers} --threads {threads}",
            expected="--batch 1 or more, the others 0 or more",
            fix="leave them out: what fits this machine is taken",
        )
    rows, curves, remarks = _measured(a, b, names, kinds, curve, (device, threads, workers, batch, precision.value))
    if as_objects:
        as_json({"rows": [plain(row) for row in rows], "curves": curves, "remarks": remarks})
        return
    for line in remarks:
        remark(line)
    show_rows(rows, as_objects=False)
    for name, found in curves.items():
        data("")
        cells = [(f"{count:,}", f"{value:.6g}") for count, value in zip(found["counts"], found["values"], strict=True)]
        table(("samples", name), [*cells, ("infinitely many", f"{found['infinity']:.6g}")], right=("samples", name))


def _measured(
    a: Path,
    b: Path,
    names: list[str],
    kinds: list[MetricKind],
    curve: bool,
    how: tuple[str, int, int, int, Precision],
) -> tuple[list[Row], dict[str, Any], list[str]]:
    """Rows, curves by metric, and what is to be said of the files."""
    from hdit_repro.metrics.extractors import extractor_by_name
    from hdit_repro.models.arithmetic import computes_bfloat16
    from hdit_repro.stages.compare import Row, check_network, check_sizes, compare, curve_of, open_side, own_name
    from hdit_repro.stages.device import prepare
    from hdit_repro.stages.imagesets import said_of
    from hdit_repro.stages.settings import Settings

    device, threads, workers, batch, precision = how
    where = prepare(Settings(device=device, threads=threads))
    if precision == "bfloat16" and where.type == "cpu" and not computes_bfloat16():
        remark("this processor has no instructions for bfloat16: it will take longer than --precision float32")
    sides = open_side(a, workers), open_side(b, workers)
    check_sizes(*sides)
    if curve and sides[0].images is None:
        raise UserError(
            "a curve over numbers of samples needs the samples",
            found=f"--curve, and {a} holds statistics alone",
            expected="a folder, .zip or .npz of images for A",
            fix="leave --curve out, or name the images",
        )
    rows: list[Row] = []
    curves: dict[str, Any] = {}
    flat: list[str] = []
    for name in names:
        try:
            extractor = extractor_by_name(name, where, precision)
            check_network(*sides, extractor)
        except UserError as error:
            if len(names) == 1:
                raise
            rows.append(Row(name, FRECHET_NAMES[name], None, f"{error.problem}; {error.fix}".rstrip("; ")))
            continue
        found, features, target = compare(*sides, extractor, name, kinds, batch, quiet)
        rows += found
        if curve and features is not None:
            try:
                curves[own_name(FRECHET_NAMES[name], extractor, name)] = curve_of(features, target)._asdict()
            except UserError as error:
                flat.append(f"no curve of {name}: {error.problem}")
    if all(row.value is None for row in rows):
        raise UserError(
            "nothing could be measured",
            found="; ".join(f"{row.metric}: {row.note}" for row in rows),
            expected="at least one metric that these two sets allow",
            fix="give sets of images instead of statistics, or other --metrics or --protocol",
        )
    said = [line for side in sides if side.images for line in said_of(side.images)]
    if sides[0].saved and sides[0].images:
        said.append(f"{sides[0].name}, as A: what is compared is its images, and its mu and sigma are left aside")
    if sides[1].saved and sides[1].images:
        said.append(f"{sides[1].name}: Frechet distances are to its mu and sigma, not to its images")
    return rows, curves, flat + said


@app.command("export")
def export(
    run: options.RunOption,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="What to write: .npz (ADM's format) or .zip (PNGs); no other file is replaced."
        ),
    ],
    scale: options.Scale = "paper",
    own: options.OwnData = None,
) -> None:
    """Write a run's kept samples as one file that others' evaluators read.

    Example: hdit-repro export --run table1/E --scale smoke samples.npz
    """
    from hdit_repro import jobs
    from hdit_repro.files import refuse_other
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.layout import RunFolder
    from hdit_repro.stages.export import SampleSet, check_ending, holds
    from hdit_repro.stages.export import export as write

    check_ending(path)
    job = jobs.find(run, scale, dataset=options.own_data(own))
    folder = RunFolder(workplace(), job.run, job.scale)
    samples = SampleSet(folder, job.name, f"hdit-repro sample --run {job.name} --scale {scale}{options.on_data(own)}")
    refuse_other(path, f"the samples of {job.name}", lambda: holds(path, samples))
    data(near(write(samples, path)))
