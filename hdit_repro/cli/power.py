"""`power`: which differences of the paper can be told from luck."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import aligned, as_json, files_left_out, group, remark, table, width, without
from hdit_repro.errors import UserError, counted, pick

if TYPE_CHECKING:
    from hdit_repro.audit.measured import Measurements
    from hdit_repro.audit.noise import Spread
    from hdit_repro.audit.power import Comparison

app = group()

HEADERS = ("pair", "printed", "why", "difference", "beyond noise from", "resolvable", "seeds", "for 80 %", "GPU-hours")
BRIEF = ("pair", "printed", "why", "apart", "beyond", "told", "seeds", "80 %", "GPU-h")
"""The same in a narrow terminal."""

SPARE = ("why", "beyond", "printed", "80 %")
"""Columns that go where even that is too wide, the first first."""


MAX_CV = 1000.0
"""Per cent: of noise ten times as large as what it moves nothing can be told."""


@app.command("power")
def power(
    table_name: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="All pairs of one table, table1 or edition2-table5.")
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
    from hdit_repro.audit.noise import Spread
    from hdit_repro.audit.power import power as compare
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.price import unit
    from hdit_repro.records.store import load

    if seeds < 1 or (cv is not None and not 0 < cv <= MAX_CV):
        said = f"--seeds {seeds}" if seeds < 1 else f"--cv {cv:g}"
        raise UserError(
            "power needs a training a side and some noise",
            found=said,
            expected=f"a training or more, and more than zero to {MAX_CV:g} %",
            fix="hdit-repro power --seeds 3 --cv 1.3",
        )
    ledger = paper.read()
    if table_name is not None:
        pick(ledger.tables, table_name, kind="table")
    spread = None if cv is None else Spread(cv / 100, math.inf, f"--cv {cv:g}")
    records, problems = load(workplace().records(SCALE))
    profile, measurements = read_cluster(cluster), Measurements(records)
    found = compare(ledger, profile, seeds, measurements, table_name, spread)
    if not found:
        full = [name for name in ledger.tables if compare(ledger, profile, seeds, measurements, name, spread)]
        raise UserError(
            "a table has no two rows to compare",
            found=f"{table_name}: no two printed FIDs of rows with one data set, resolution and training budget",
            expected=", ".join(full),
            fix="name one of these tables, or none for the differences that the paper speaks of",
        )
    files_left_out(len(problems))
    if as_objects:
        as_json([comparison.as_row() for comparison in found])
        return
    left_out = _print(found)
    open_pairs = sum(not one.resolvable for one in found)
    remark(f"{open_pairs} of {counted(len(found), 'printed difference')} cannot be told from luck with {seeds} a side")
    if claims := sum(one.why == "claim" for one in found):
        remark(f"{counted(claims, 'claim')} of order: tested together, each at the strictest of Holm's levels")
    for line in _noises(found, measurements, spread):
        remark(line)
    if left_out:
        remark(f"left out, since the terminal is narrow: {', '.join(left_out)}; --json has all")
    remark("with several a side, noise is estimated from them, as `verify` does, and is no longer known")
    remark("seeds: the fewest a side that put the printed difference beyond noise; for 80 %: to find it that often")
    trainings = counted(seeds, "training")
    remark(f"GPU-hours are {unit(profile)}-hours of {trainings} a side with samples and measurement")


def _print(found: Sequence[Comparison]) -> list[str]:
    """A line a pair; returns the full headings of what a narrow terminal has no room for."""
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
    columns = width(sys.stdout)
    if not columns or max(map(len, aligned(HEADERS, cells))) <= columns:
        table(HEADERS, cells, right=HEADERS[3:])
        return []
    short = [(_brief(row[0]), row[1].replace(" ", ""), *row[2:]) for row in cells]
    headers, rows = without(BRIEF, short, SPARE, columns)
    table(headers, rows, right=BRIEF[3:])
    return [whole for whole, brief in zip(HEADERS, BRIEF, strict=True) if brief not in headers]


def _brief(pair: str) -> str:
    """Two rows of one experiment, whose name is said once: "table1/A / B2"."""
    lower, higher = pair.split(" / ")
    experiment = f"{lower.partition('/')[0]}/"
    return f"{lower} / {higher.removeprefix(experiment)}"


def _noises(found: Sequence[Comparison], measurements: Measurements, given: Spread | None) -> list[str]:
    """What the differences are told from: a line a noise, which names its data where there are several."""
    from hdit_repro import jobs
    from hdit_repro.spec.base import kind_of

    of: dict[str, dict[str, None]] = {}
    for claim in (one.lower for one in found):
        assert claim.run
        run = jobs.find(claim.run).run
        noise = given or measurements.noise(run, measurements.metric(claim, run)).pooled
        of.setdefault(noise.words(), {})[f"{kind_of(run.data.dataset)} at {run.data.resolution}²"] = None
    names = [f" ({', '.join(data)})" if len(of) > 1 else "" for data in of.values()]
    return [f"noise of one training{name}: {words}" for name, words in zip(names, of, strict=True)]
