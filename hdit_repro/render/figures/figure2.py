"""Figure 2: what one forward pass costs as the resolution grows, counted and not copied.

HDiT-B/4 and DiT-B/4 are rows of Table 1, HDiT-B/4 with a level more for each doubling (`cost.at_resolution`). ADM's
U-Net (Dhariwal & Nichol, 2021) is another network at each of its sizes, as published, which the second edition draws
too; it has none above 512².
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro import jobs
from hdit_repro.cost import at_resolution, count
from hdit_repro.cost.unet import unet
from hdit_repro.render.figures.style import OKABE_ITO, decades, new_figure
from hdit_repro.spec.unet import ADM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLUTIONS = (128, 256, 512, 1024, 2048, 4096)
"""Sides in pixels: doublings of Table 1's, at each of which the core keeps its grid."""

Costs = list[tuple[int, int]]


class Curve(NamedTuple):
    """A network, its (side in pixels, MACs of one forward pass), and how it is drawn."""

    label: str
    costs: Costs
    color: str
    marker: str
    dash: str


def costs(run: str) -> Costs:
    """A row of Table 1 at each of RESOLUTIONS, as `cost.at_resolution` has it."""
    model = jobs.find(run).run.model
    return [(side, count(at_resolution(model, side), side).macs) for side in RESOLUTIONS]


def adm_costs() -> Costs:
    """ADM's published networks, each at its own resolution, from the smallest of RESOLUTIONS up."""
    return [(side, unet(spec).macs) for side, spec in ADM.items() if side in RESOLUTIONS]


def curves() -> tuple[Curve, ...]:
    """What is drawn, in the order of the legend."""
    return (
        Curve("DiT-B/4", costs("table1/R1"), OKABE_ITO["vermilion"], "s", "--"),
        Curve("ADM's U-Net, as published", adm_costs(), OKABE_ITO["green"], "^", ":"),
        Curve("HDiT-B/4", costs("table1/E"), OKABE_ITO["blue"], "o", "-"),
    )


def draw(material: Sequence[Curve]) -> Figure:
    """Log-log: side of the image against 10^9 MACs (the paper's GFLOP); the last point of each curve in numbers."""
    figure = new_figure()
    axes = figure.subplots()
    for curve in material:
        sides, macs = zip(*curve.costs, strict=True)
        giga = [value / 1e9 for value in macs]
        axes.plot(
            sides, giga, color=curve.color, marker=curve.marker, markersize=5, linestyle=curve.dash, label=curve.label
        )
        axes.annotate(
            f"{giga[-1]:,.0f}", (sides[-1], giga[-1]), xytext=(0, 6 if sides[-1] == RESOLUTIONS[-1] else -14),
            textcoords="offset points", ha="center",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    decades(axes.yaxis)
    axes.set_xticks(RESOLUTIONS, [f"{side}²" for side in RESOLUTIONS])
    axes.set_xlabel("Resolution (pixels)")
    axes.set_ylabel("Cost of one forward pass (10⁹ MACs)")
    axes.margins(x=0.08, y=0.12)
    axes.legend(loc="upper left")
    return figure
