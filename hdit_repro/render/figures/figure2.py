"""Figure 2: what one forward pass costs as the resolution grows, HDiT-B/4 and DiT-B/4, counted and not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hdit_repro import jobs
from hdit_repro.cost import at_resolution, count
from hdit_repro.render.figures.style import OKABE_ITO, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLUTIONS = (128, 256, 512, 1024, 2048, 4096)
"""Sides in pixels: where the paper's rule is defined without leaving a level half grown."""


class Curve(NamedTuple):
    """A network of Table 1 and how it is drawn."""

    run: str
    label: str
    color: str
    marker: str
    dash: str


CURVES = (
    Curve("table1/R1", "DiT-B/4", OKABE_ITO["vermilion"], "s", "--"),
    Curve("table1/E", "HDiT-B/4", OKABE_ITO["blue"], "o", "-"),
)


def costs(run: str) -> list[tuple[int, int]]:
    """(side in pixels, MACs of one forward pass) of a row under the paper's resolution rule."""
    model = jobs.find(run).run.model
    return [(side, count(at_resolution(model, side), side).macs) for side in RESOLUTIONS]


def draw() -> Figure:
    """Log-log: side of the image against 10^9 MACs (the paper's GFLOP)."""
    figure = new_figure()
    axes = figure.subplots()
    for curve in CURVES:
        sides, macs = zip(*costs(curve.run), strict=True)
        giga = [value / 1e9 for value in macs]
        axes.plot(
            sides, giga, color=curve.color, marker=curve.marker, markersize=5, linestyle=curve.dash, label=curve.label
        )
        axes.annotate(f"{giga[-1]:,.0f}", (sides[-1], giga[-1]), xytext=(0, 6), textcoords="offset points", ha="center")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(RESOLUTIONS, [f"{side}²" for side in RESOLUTIONS])
    axes.set_xlabel("Resolution (pixels)")
    axes.set_ylabel("Cost of one forward pass (10⁹ MACs)")
    axes.margins(x=0.08, y=0.12)
    axes.legend(loc="upper left")
    return figure
