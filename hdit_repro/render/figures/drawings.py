"""The figures, declared: what each shows, gathered apart from the drawing, so that this may be another process's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from hdit_repro.paper import Ledger
from hdit_repro.records.rows import Index
from hdit_repro.render.figures import figure2, figure8, figure9, guidance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        title, alt: in the report.
        material: plain values from the job files, print, the records by scale and row, and the scale.
        draw: a matplotlib figure of them.
        measured: whether records are looked at.
        scales: at which scales it is made.
        worth: whether material is drawn where nobody asked for this figure by name.
    """

    title: str
    alt: str
    material: Callable[[Ledger, Index, str], Any]
    draw: Callable[[Any], Figure]
    measured: bool
    scales: tuple[str, ...] = ("paper",)
    worth: Callable[[Any], bool] = lambda material: True


FIGURES: dict[str, Drawing] = {
    "figure2": Drawing(
        "Figure 2: cost against resolution",
        "Cost of one forward pass in 10⁹ multiply-accumulates against the side of the image, both logarithmic, for "
        "DiT-B/4, ADM and HDiT-B/4: HDiT's grows in proportion to the number of pixels, DiT's faster.",
        lambda ledger, records, scale: figure2.curves(),
        figure2.draw,
        measured=False,
    ),
    "figure8": Drawing(
        "Figure 8: loss weights",
        "Weight on the error of the denoised image against the noise level, both logarithmic: soft-Min-SNR bends "
        "smoothly where Min-SNR has a corner.",
        lambda ledger, records, scale: figure8.CURVES,
        figure8.draw,
        measured=False,
    ),
    "figure9": Drawing(
        "Figure 9: guidance",
        "FID against Inception Score over the guidance weight: the two printed points, and ours once measured.",
        lambda ledger, records, scale: figure9.curve(ledger, records),
        figure9.draw,
        measured=True,
    ),
    "guidance": Drawing(
        "Guidance sweep",
        "Each measured metric over the guidance weight, under its own name: no FID and no Inception Score.",
        lambda ledger, records, scale: guidance.sweep(records, scale),
        guidance.draw,
        measured=True,
        scales=("mini", "smoke"),
        worth=lambda material: bool(material.distance.points),
    ),
}


def made_at(scale: str) -> list[str]:
    """The figures of a scale, by name."""
    return [name for name, drawing in FIGURES.items() if scale in drawing.scales]
