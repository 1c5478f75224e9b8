"""Figure 9: FID against Inception Score over the guidance weight; the printed points, and ours once measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.summary import summarise
from hdit_repro.errors import UserError
from hdit_repro.paper import Claim, Ledger
from hdit_repro.records.rows import Index, of_row
from hdit_repro.render import measured
from hdit_repro.render.figures.style import OKABE_ITO, new_figure
from hdit_repro.render.rows import INCEPTION_SCORE
from hdit_repro.spec.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXPERIMENT = "guidance"
OPTIMUM = ("appendix-d/fid", "appendix-d/is", "appendix-d/guidance")
UNGUIDED = ("table4/hdit/fid", "table4/hdit/is", "appendix-d/none")
"""The claims of a printed point: FID, IS, guidance weight."""


class Point(NamedTuple):
    """One guidance weight: both metrics of the same samples."""

    guidance: float
    fid: float
    inception_score: float


class Curve(NamedTuple):
    """The printed points without guidance and of the lowest FID, those measured, and how many weights the sweep has."""

    marked: tuple[Point, ...]
    points: tuple[Point, ...]
    sweep: int


def printed(ledger: Ledger, claims: Sequence[str]) -> Point:
    """A point of the printed curve.

    Args:
        claims: ids of its FID, its IS and its guidance weight.

    Raises:
        UserError: the ledger has no such claim, or it prints no number.
    """
    fid, score, guidance = (_number(ledger.claim(name)) for name in claims)
    return Point(guidance, fid, score)


def _number(claim: Claim) -> float:
    if isinstance(claim.printed, int | float):
        return claim.printed
    raise UserError(
        f"claim {claim.id!r} prints no number",
        found=f"{claim.text!r} at {claim.file}:{claim.line}",
        expected="a number to draw",
        fix="correct the claim in tables/paper/",
    )


def ours(records: Index) -> tuple[list[Point], int]:
    """The measured points of the sweep by rising weight, and how many weights the sweep has.

    A weight counts when both FID and IS of the paper's protocol are there.
    """
    runs = [job.run for job in jobs.load(EXPERIMENT)]
    points = [point for run in runs if (point := _measured(records, run)) is not None]
    return sorted(points), len(runs)


def _measured(records: Index, run: Run) -> Point | None:
    found = of_row(records, "paper", run)
    fid, score = (summarise(found, name) for name in (measured.frechet_name(run), INCEPTION_SCORE))
    return Point(run.sampling.guidance, fid.mean, score.mean) if fid and score else None


def curve(ledger: Ledger, records: Index) -> Curve:
    """What is drawn.

    Raises:
        UserError: as `printed`.
    """
    points, sweep = ours(records)
    return Curve(tuple(printed(ledger, claims) for claims in (UNGUIDED, OPTIMUM)), tuple(points), sweep)


def draw(material: Curve) -> Figure:
    """Inception Score (higher is better) against FID (lower is better), one point a guidance weight."""
    figure = new_figure()
    axes = figure.subplots()
    marked, points, sweep = material
    _ours(axes, points, sweep)
    for point, marker, name in zip(marked, ("s", "D"), ("no guidance", "lowest FID"), strict=True):
        where = f"FID {point.fid:g}, IS {point.inception_score:g} at w = {point.guidance:g}"
        axes.plot(
            point.inception_score, point.fid, marker=marker, markersize=8, linestyle="none", markerfacecolor="none",
            markeredgecolor=OKABE_ITO["black"], markeredgewidth=1.5, clip_on=False, label=f"printed, {name}: {where}",
        )  # fmt: skip
    scores, fids = ([point[place] for point in (*marked, *points)] for place in (2, 1))
    spread = max(scores) - min(scores)
    axes.set_xlim(max(0.0, min(scores) - 0.15 * spread), max(scores) + 0.15 * spread)
    axes.set_ylim(0, 1.5 * max(fids))
    axes.set_xlabel("Inception Score (higher is better)")
    axes.set_ylabel("FID (lower is better)")
    axes.legend(loc="upper right")
    return figure


def _ours(axes: Axes, points: Sequence[Point], sweep: int) -> None:
    """The measured curve with its weights on the outer side, or the words that there is none."""
    if not points:
        axes.text(0.03, 0.05, f"ours: not measured (0 of {sweep} guidance weights)", transform=axes.transAxes)
        return
    axes.plot(
        [point.inception_score for point in points], [point.fid for point in points],
        color=OKABE_ITO["blue"], marker="o", markersize=4, label=f"ours, {len(points)} of {sweep} weights w",
    )  # fmt: skip
    lowest = min(points, key=lambda point: point.fid)
    for point in points:
        side = (point.guidance > lowest.guidance) - (point.guidance < lowest.guidance)
        axes.annotate(
            f"{point.guidance:g}", (point.inception_score, point.fid), xytext=(12 * side, -9 if side else -16),
            textcoords="offset points", ha="center", va="center", color=OKABE_ITO["blue"],
        )  # fmt: skip
