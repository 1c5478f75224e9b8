"""Figure 8: the loss weights over the noise level, Min-SNR and soft-Min-SNR (Equations 7 to 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro.render.figures.style import OKABE_ITO, decades, new_figure
from hdit_repro.spec.diffusion import MinSnr, Snr, SoftMinSnr

if TYPE_CHECKING:
    import numpy
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]

CAPTION, MODELS = MinSnr(), SoftMinSnr()
"""Min-SNR's usual gamma, at which the figure compares the two, and the gamma of the paper's models (Appendix B)."""


class Curve(NamedTuple):
    """A weighting and how it is drawn."""

    label: str
    weighting: Snr | MinSnr | SoftMinSnr
    color: str
    dash: str


CURVES = (
    Curve("SNR", Snr(), OKABE_ITO["black"], ":"),
    Curve(f"Min-SNR, γ = {CAPTION.gamma:g}", CAPTION, OKABE_ITO["blue"], "--"),
    Curve(f"soft-Min-SNR, γ = {CAPTION.gamma:g}", SoftMinSnr(gamma=CAPTION.gamma), OKABE_ITO["orange"], "-"),
    Curve(f"soft-Min-SNR, γ = {MODELS.gamma:g} (the models)", MODELS, OKABE_ITO["vermilion"], "-."),
)


def weight(weighting: Snr | MinSnr | SoftMinSnr, sigma: Floats) -> Floats:
    """The weight on the squared error of the denoised image at noise level `sigma` (any shape)."""
    import numpy

    match weighting:
        case Snr():
            return 1 / sigma**2
        case MinSnr(gamma=gamma):
            return numpy.minimum(1 / sigma**2, gamma)
        case SoftMinSnr(gamma=gamma):
            return 1 / (sigma**2 + 1 / gamma)


def draw(material: Sequence[Curve]) -> Figure:
    """Log-log: sigma against the weight on the squared error of the denoised image."""
    import numpy

    sigma = numpy.geomspace(1e-2, 1e2, 401)
    figure = new_figure()
    axes = figure.subplots()
    for label, weighting, color, dash in material:
        axes.plot(sigma, weight(weighting, sigma), color=color, linestyle=dash, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    decades(axes.xaxis, axes.yaxis)
    axes.set_ylim(1e-4, 1e2)
    axes.set_xlabel("Noise level σ")
    axes.set_ylabel("Weight on the error of the denoised image")
    axes.legend(loc="lower left")
    return figure
