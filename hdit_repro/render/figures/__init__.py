"""The paper's figures, from formulas, counts, print and records, as SVG, PNG and PDF. matplotlib is imported to draw.

Figures 1, 3 to 5 show pictures and diagrams, 6, 7 and 10 to 13 samples: nothing of them is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hdit_repro import paper
from hdit_repro.errors import pick
from hdit_repro.paper import Ledger
from hdit_repro.records.rows import Index
from hdit_repro.render.figures.drawings import FIGURES as FIGURES
from hdit_repro.render.figures.drawings import made_at as made_at
from hdit_repro.render.figures.easel import Easel as Easel
from hdit_repro.render.figures.style import KINDS


def render_figures(
    out: Path,
    records: Index,
    names: Iterable[str] | None = None,
    ledger: Ledger | None = None,
    kinds: Sequence[str] = KINDS,
    scale: str = "paper",
) -> list[Path]:
    """Draw figures into `out`; returns the files in the order they were written. Equal input gives equal bytes.

    Args:
        out: the folder to write to.
        records: what was measured, by scale and row.
        names: figures by name ("figure2"); None is all of the scale.
        ledger: what the paper prints; None is the project's own.
        kinds: formats, by the endings of their files.
        scale: whose records are shown, in figures that are made at several.

    Raises:
        UserError: there is no such figure.
    """
    chosen = made_at(scale) if names is None else list(names)
    drawings = {name: pick(FIGURES, name, kind="figure") for name in chosen}
    known = ledger or paper.read()
    with Easel(out, kinds) as easel:
        for name, drawing in drawings.items():
            easel.put(name, drawing.material(known, records, scale))
        return easel.take()
