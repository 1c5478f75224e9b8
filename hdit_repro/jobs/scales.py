"""paper, mini, smoke: the same experiments at three prices. `scales.toml` holds what a scale changes.

A scale's tables are laid over every row in this order: `[SCALE.all]`, `[SCALE.shape.NAME]` where NAME is the row's
kind of network with its number of levels (`hourglass-2`, `dit`), `[SCALE.experiment.NAME]`, `[SCALE.row."NAME/ROW"]`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from hdit_repro.errors import pick
from hdit_repro.jobs.files import PARTS, SCALES_FILE, folders, read_toml, refuse_unknown

SCALES = ("paper", "mini", "smoke")


def shape_of(model: dict[str, Any]) -> str:
    """The name under which scales.toml keeps what depends on the network's outline."""
    if model.get("kind") == "hourglass":
        return f"hourglass-{len(model.get('widths', ()))}"
    return str(model.get("kind"))


def scale_overlays(scale: str, experiment: str, row: str, model: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables that a scale lays over a row, in order: each of the project's, then the user's own on top of it.
    `paper` lays none.

    Raises:
        UserError: an unknown scale, or unknown keys in scales.toml.
    """
    pick(dict.fromkeys(SCALES), scale, kind="scale", where="--scale")
    if scale == "paper":
        return []
    found: list[dict[str, Any]] = []
    paths = [path for folder in reversed(folders()) if (path := folder / SCALES_FILE).exists()]
    for kind, name in (
        ("all", ""),
        ("shape", shape_of(model)),
        ("experiment", experiment),
        ("row", f"{experiment}/{row}"),
    ):
        for path in paths:
            table = _read(path).get(scale, {}).get(kind, {})
            table = table.get(name, {}) if name else table
            refuse_unknown(table, PARTS, f"{path}, [{scale}]")
            found.append(table)
    return [table for table in found if table]


@lru_cache(maxsize=4)
def _read(path: Path) -> dict[str, Any]:
    tree = read_toml(path)
    refuse_unknown(tree, SCALES, str(path))
    for scale, tables in tree.items():
        refuse_unknown(tables, ("all", "shape", "experiment", "row"), f"{path}, [{scale}]")
    return tree
