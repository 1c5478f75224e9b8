"""One look for all figures, legible in print and for the colour-blind, and files that do not change by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdit_repro.files import atomic_file

if TYPE_CHECKING:
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
    "figure.constrained_layout.use": True,
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


def new_figure(width: float = 5.2, height: float = 3.6) -> Figure:
    """An empty figure (inches) that belongs to no window and no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save(draw: Callable[[], Figure], out: Path, name: str, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draw under STYLE alone, whatever the user's matplotlibrc says, and write SVG, PNG (200 dpi) and PDF."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paths = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = draw()
        FigureCanvasAgg(figure)
        for kind in kinds:
            path = out / f"{name}.{kind}"
            with atomic_file(path) as file:
                figure.savefig(file, format=kind, dpi=200, metadata=NO_DATES[kind])
            paths.append(path)
    return paths
