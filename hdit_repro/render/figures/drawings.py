"""The figures, declared: what each shows, gathered apart from the drawing, so that this may be another process's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from hdit_repro.paper import Ledger
from hdit_repro.render.figures import figure2, figure8, figure9
from hdit_repro.render.measured import Index

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        material: plain values from the job files, print, and the records by scale and row.
        draw: a matplotlib figure of them.
        measured: whether records are looked at.
    """

    material: Callable[[Ledger, Index], Any]
    draw: Callable[[Any], Figure]
    measured: bool


FIGURES: dict[str, Drawing] = {
    "figure2": Drawing(lambda ledger, records: figure2.curves(), figure2.draw, measured=False),
    "figure8": Drawing(lambda ledger, records: figure8.CURVES, figure8.draw, measured=False),
    "figure9": Drawing(figure9.curve, figure9.draw, measured=True),
}
