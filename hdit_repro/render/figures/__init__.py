"""The paper's figures, each from formulas and counts, as SVG, PNG and PDF. Only `save` touches matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hdit_repro.errors import pick
from hdit_repro.render.figures import figure2, figure8
from hdit_repro.render.figures.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(Protocol):
    """Draws one figure from nothing but the job files."""

    def __call__(self) -> Figure: ...


FIGURES: dict[str, Drawing] = {"figure2": figure2.draw, "figure8": figure8.draw}


def render_figures(out: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Draw figures into `out`; returns the files in the order they were written. Equal jobs give equal bytes.

    Args:
        out: the folder to write to.
        names: figures by name ("figure2"); None is all.

    Raises:
        UserError: there is no such figure.
    """
    chosen = list(FIGURES) if names is None else list(names)
    drawings = [(name, pick(FIGURES, name, kind="figure")) for name in chosen]
    return [path for name, draw in drawings for path in save(draw, out, name)]
