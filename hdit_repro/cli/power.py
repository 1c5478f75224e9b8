"""`power`: which differences of the paper can be told from luck."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, group, remark, table
from hdit_repro.errors import UserError, pick

if TYPE_CHECKING:
    from hdit_repro.audit.noise import Spread
    from hdit_repro.records.schema import Record

app = group()

HEADERS = ("pair", "printed", "why", "difference", "beyond noise from", "resolvable", "seeds", "for 80 %", "GPU-hours")


@app.command("power")
def power(
    table_name: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="All pairs of one table, table1 or edition2-table5.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Trainings a side.")] = 1,
    cv: Annotated[
        float | None, typer.Option("--cv", metavar="PERCENT", help="Noise of one training; default: the records'.")
    ] = None,
    cluster: options.Cluster = "a100",
    as_objects: options.Json = False,
) -> None:
    """Show which printed differences N trainings a side could tell from luck, and what they cost.

    Example: hdit-repro power --seeds 3 --cluster a100
    """
    from hdit_repro import paper
    from hdit_repro.audit.measured import SCALE, Measurements
    from hdit_repro.audit.noise import PRIOR, Spread
    from hdit_repro.audit.power import power as compare
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.records.store import load

    if seeds < 1 or (cv is not None and cv <= 0):
        said = f"--seeds {seeds}" if seeds < 1 else f"--cv {cv:g}"
        raise UserError(
            "power needs a training a side and some noise",
            found=said,
            expected="more than zero",
            fix="hdit-repro power --seeds 3 --cv 1.3",
        )
    ledger = paper.read()
    if table_name is not None:
        pick(ledger.tables, table_name, kind="table")
    spread = None if cv is None else Spread(cv / 100, math.inf, f"--cv {cv:g}")
    records, _ = load(workplace().records(SCALE))
    found = compare(ledger, read_cluster(cluster), seeds, Measurements(records), table_name, spread)
    if as_objects:
        as_json([comparison.as_row() for comparison in found])
        return
    cells = [
        (
            one.name,
            f"{one.lower.text} / {one.higher.text}",
            one.why,
            f"{one.percent:.1f} %",
            f"{one.threshold:.1f} %",
            "yes" if one.resolvable else "no",
            str(one.seeds or "never"),
            str(one.surely or "never"),
            f"{one.gpu_hours:,.0f}",
        )
        for one in found
    ]
    table(HEADERS, cells, right=HEADERS[3:])
    open_pairs = sum(not one.resolvable for one in found)
    remark(f"{open_pairs} of {len(found)} printed differences cannot be told from luck with {seeds} a side")
    remark(f"noise of one training: {(spread or _noise(records) or PRIOR).words()}")
    remark("seeds: a side, from which on the printed difference is beyond noise; for 80 %: to find it that often")
    remark(f"GPU-hours of {seeds} trainings a side with samples and measurement, on {cluster}")


def _noise(records: list[Record]) -> Spread | None:
    """The records' own noise where it is one and the same for all that are measured."""
    from hdit_repro.audit.measured import Measurements

    measurements = Measurements(records)
    found = {measurements.noise(record.spec, "fid").pooled for record in records if "fid" in record.metrics}
    return found.pop() if len(found) == 1 else None
