"""One look for all figures, legible in print and for the colour-blind, and files that do not change by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdit_repro.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
"""Okabe and Ito's palette, which stays apart under the common kinds of colour blindness."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.hashsalt": "hdit-repro",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "pdf.compression": 0,  # compressed bytes differ between builds of zlib
}

NO_DATES: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What each format would otherwise say about the moment and the library that made it."""

KINDS = tuple(NO_DATES)


def new_figure(height: float = 3.6) -> Figure:
    """An empty figure (inches) that belongs to no window and no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(5.2, height), layout="constrained")


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decades(*axes: Axis) -> None:
    """Write the powers of ten of logarithmic axes as letters, "10⁻²".

    The default sets them as mathematics, measures each many times, and takes most of the time of a figure.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
        axis.set_minor_formatter(NullFormatter())


def power_of_ten(value: float) -> str:
    """A power of ten as it is printed: 0.01 is "10⁻²"."""
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"


def save(draw: Callable[[], Figure], out: Path, name: str, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draw under STYLE alone, whatever the user's matplotlibrc says, and write SVG, PNG (200 dpi) and PDF.

    The figure is laid out once, so that it is the same in all formats.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paths = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = draw()
        FigureCanvasAgg(figure)
        _lay_out(figure)
        for kind in kinds:
            path = out / f"{name}.{kind}"
            with atomic_file(path) as file:
                figure.savefig(file, format=kind, dpi=200, metadata=NO_DATES[kind])
            paths.append(path)
    return paths


def _lay_out(figure: Figure) -> None:
    """Settle where everything stands; each saving would lay the figure out anew, and draw it twice for that."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
