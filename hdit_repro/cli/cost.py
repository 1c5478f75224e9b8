"""`cost`: multiply-accumulates and parameters, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, count, data, group, left_out, remark, table
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.jobs import Job

app = group()

TABLE_1_RESOLUTIONS = (128, 256, 512)
"""The sides, in pixels, at which Table 1 prints costs."""


@app.command("cost")
def cost(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help=options.RUN_HELP)] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", metavar="N", help="Side in pixels, by the paper's rule.")
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
    rows = [_counted(job, side) for job in chosen for side in _sides(job, resolution, alone=run is not None)]
    left_out(refused)
    if as_objects:
        as_json(rows)
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


def _sides(job: Job, resolution: int | None, *, alone: bool) -> list[int]:
    """The resolutions to count a row at: the one asked for, else its own, and for Table 1 the three that it prints."""
    if resolution is not None:
        return [resolution]
    if job.experiment == "table1" and not alone:
        return list(TABLE_1_RESOLUTIONS)
    return [job.run.data.resolution]


def _counted(job: Job, resolution: int) -> dict[str, Any]:
    from hdit_repro.cost import at_resolution
    from hdit_repro.cost import count as count_model

    try:
        counted = count_model(at_resolution(job.run.model, resolution), resolution)
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
        "macs": counted.macs,
        "flops": counted.flops,
        "parameters": counted.parameters,
        "parts": {name: part._asdict() for name, part in counted.parts.items()},
    }
