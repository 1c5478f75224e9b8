"""`cost`: multiply-accumulates and parameters, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, count, data, group, left_out, remark, table
from hdit_repro.errors import UserError, counted

if TYPE_CHECKING:
    from hdit_repro.jobs import Job

app = group()

TABLE_1_RESOLUTIONS = (128, 256, 512)
"""The sides, in pixels, at which Table 1 prints costs."""


@app.command("cost")
def cost(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help=options.RUN_HELP)] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            "--resolution",
            metavar="N",
            help="Side in pixels: for each doubling of the row's own a level more, below it the row's own levels.",
        ),
    ] = None,
    as_objects: options.Json = False,
) -> None:
    """Count a run's multiply-accumulates and parameters, or every run's.

    Example: hdit-repro cost table1/E --resolution 256
    """
    from hdit_repro import jobs

    if resolution is not None and resolution < 1:
        raise UserError(
            "an image has a side of one pixel or more",
            found=f"--resolution {resolution}",
            expected="a size that patches, merges, kernels and windows divide or fit",
            fix="hdit-repro cost table1/E --resolution 256",
        )
    found, refused = ([jobs.find(run)], []) if run is not None else jobs.survey()
    chosen = [job for job in found if run is not None or not job.run.external]
    if chosen and chosen[0].run.external:
        raise UserError(
            "nobody here knows the network behind images of others",
            found=chosen[0].name,
            expected="a run of a network",
            fix="name another run; `hdit-repro list` prints all",
        )
    counts = [(job, side) for job in chosen for side in _sides(job, resolution, alone=run is not None)]
    rows = [_counted(job, side) for job, side in counts]
    left_out(refused)
    if as_objects:
        as_json(rows)
        _say_small_cores(counts)
        return
    cells = [(r["run"], f"{r['resolution']}²", f"{r['macs']:,}", f"{r['parameters']:,}") for r in rows]
    table(("run", "pixels", "MACs", "parameters"), cells, right=("pixels", "MACs", "parameters"))
    if run is not None:
        parts = rows[0]["parts"].items()
        data("")
        names = ("part", "MACs", "share", "parameters")
        whole = rows[0]["macs"]
        shares = [(name, count(p["macs"]), f"{p['macs'] / whole:.1%}", count(p["parameters"])) for name, p in parts]
        table(names, shares, right=names[1:])
    remark("MACs of one forward pass of one image; the paper's GFLOP is 1e9 of them, a FLOP count is twice as many")
    _say_small_cores(counts)


def _sides(job: Job, resolution: int | None, *, alone: bool) -> list[int]:
    """The resolutions to count a row at: the one asked for, else its own, and for Table 1 the three that it prints."""
    if resolution is not None:
        return [resolution]
    if job.experiment == "table1" and not alone:
        return list(TABLE_1_RESOLUTIONS)
    return [job.run.data.resolution]


def _say_small_cores(counts: Sequence[tuple[Job, int]]) -> None:
    """Say of rows counted below their own size that their levels are not chosen for it as the paper chooses them."""
    from hdit_repro.cost import CORE, at_resolution, innermost
    from hdit_repro.spec.model import DiT

    smaller: dict[tuple[int, int], list[str]] = {}
    for job, side in counts:
        model = job.run.model
        if side >= model.resolution or isinstance(model, DiT) or len(model.widths) == 1:
            continue
        grid = innermost(at_resolution(model, side))
        if grid != (CORE, CORE):
            smaller.setdefault(grid, []).append(job.name)
    for (high, wide), (first, *others) in smaller.items():
        more = f" and {counted(len(others), 'other row')}" if others else ""
        remark(
            f"levels as in the row: the innermost grid of {first}{more} is {high} x {wide} tokens, "
            f"not {CORE} x {CORE} as by Section 4.1"
        )


def _counted(job: Job, resolution: int) -> dict[str, Any]:
    from hdit_repro.cost import at_resolution
    from hdit_repro.cost import count as count_model

    try:
        found = count_model(at_resolution(job.run.model, resolution), resolution)
    except ValueError as error:
        raise UserError(
            f"{job.name} cannot be made for images of {resolution} x {resolution} pixels",
            found=f"--resolution {resolution}: {error}",
            expected="a size that patches, merges, kernels and windows divide or fit",
            fix=f"hdit-repro cost {job.name} --resolution {2 * job.run.data.resolution}",
        ) from error
    return {
        "run": job.name,
        "resolution": resolution,
        "macs": found.macs,
        "flops": found.flops,
        "parameters": found.parameters,
        "parts": {name: part._asdict() for name, part in found.parts.items()},
    }
