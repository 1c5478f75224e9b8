"""paper, mini, smoke: the same experiments at three prices. `scales.toml` holds what a scale changes.

A scale's tables are laid over every row in this order: `[SCALE.all]`, `[SCALE.shape.NAME]` where NAME is the row's
kind of network with its number of levels (`hourglass-2`, `dit`), `[SCALE.experiment.NAME]`, `[SCALE.row."NAME/ROW"]`.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hdit_repro.errors import UserError, pick
from hdit_repro.jobs.files import (
    PARTS,
    SCALES_FILE,
    experiment_files,
    file_states,
    folders,
    line_of,
    read_experiment,
    read_toml,
    refuse_types,
    refuse_unknown,
)
from hdit_repro.jobs.rows import row_of
from hdit_repro.jobs.types import SCALES
from hdit_repro.jobs.values import as_written

SECTIONS = ("all", "shape", "experiment", "row")

_SHAPE = re.compile(r"dit|hourglass-[1-9][0-9]*")


class Overlay(NamedTuple):
    """A table that a scale lays over a row, and where it stands: the file, and the names of the section."""

    table: dict[str, Any]
    path: Path
    section: tuple[str, ...]

    def at(self, field: str) -> str:
        """The file and the line of a dotted field, or of the section."""
        line = line_of(self.path, *self.section, *field.split("."))
        return f"{self.path}:{line}, {_header(self.section)}"


def shape_of(model: dict[str, Any]) -> str:
    """The name under which scales.toml keeps what depends on the network's outline."""
    if model.get("kind") == "hourglass":
        widths = model.get("widths")
        return f"hourglass-{len(widths) if isinstance(widths, list) else 0}"
    return str(model.get("kind"))


def scale_overlays(scale: str, experiment: str, row: str, model: dict[str, Any]) -> list[Overlay]:
    """What a scale lays over a row, in order: each of the project's tables, then the user's own on top of it.
    `paper` lays none.

    Raises:
        UserError: an unknown scale, or in scales.toml unknown names or values that are no tables.
    """
    pick(dict.fromkeys(SCALES), scale, kind="scale", where="--scale")
    if scale == "paper":
        return []
    found: list[Overlay] = []
    paths = [path for folder in reversed(folders()) if (path := folder / SCALES_FILE).exists()]
    if paths and paths[-1].parent == folders()[0]:  # the project's own may name rows that a user's files hide
        _refuse_names(paths[-1], paths[-1].stat().st_mtime_ns, file_states())
    for kind, name in (
        ("all", ""),
        ("shape", shape_of(model)),
        ("experiment", experiment),
        ("row", f"{experiment}/{row}"),
    ):
        for path in paths:
            section = (scale, kind, name) if name else (scale, kind)
            table = _read(path, path.stat().st_mtime_ns)
            for key in section:
                table = table.get(key, {})
            found.append(Overlay(table, path, section))
    return [overlay for overlay in found if overlay.table]


@lru_cache(maxsize=4)
def _read(path: Path, _state: int) -> dict[str, Any]:
    """A file of scales whose outline stands: sections that are known, tables of parts, tables in each part."""
    tree = read_toml(path)
    refuse_unknown(tree, SCALES[1:], str(path))
    refuse_types(tree, dict.fromkeys(tree, dict), str(path))
    for scale, sections in tree.items():
        where = f"{path}, [{scale}]"
        refuse_unknown(sections, SECTIONS, where)
        refuse_types(sections, dict.fromkeys(sections, dict), where)
        for section in sections:
            named: dict[tuple[str, ...], Any] = {(scale, section): sections[section]}
            if section != "all":
                refuse_types(sections[section], dict.fromkeys(sections[section], dict), f"{path}, [{scale}.{section}]")
                named = {(scale, section, name): table for name, table in sections[section].items()}
            for names, table in named.items():
                refuse_unknown(table, PARTS, f"{path}, {_header(names)}")
                refuse_types(table, dict.fromkeys(PARTS, dict), f"{path}, {_header(names)}")
    return tree


@lru_cache(maxsize=4)
def _refuse_names(path: Path, state: int, _files: object) -> None:
    """Refuse a section for an outline, an experiment or a row that nobody has.

    Raises:
        UserError: with the nearest name.
    """
    for scale, sections in _read(path, state).items():
        for shape in sections.get("shape", {}):
            if not _SHAPE.fullmatch(shape):
                known = dict.fromkeys(("dit", *(f"hourglass-{levels}" for levels in range(1, 6))))
                pick(known, shape, kind="outline of a network", where=f"{path}, [{scale}.shape]")
        for experiment in sections.get("experiment", {}):
            pick(experiment_files(), experiment, kind="experiment", where=f"{path}, [{scale}.experiment]")
        for name in sections.get("row", {}):
            experiment, _, row = name.partition("/")
            where = f"{path}, [{scale}.row]"
            pick(experiment_files(), experiment, kind="experiment", where=where)
            rows: dict[str, Any] = {row: None}
            with contextlib.suppress(UserError):  # that file's own fault is told where one of its rows is asked for
                rows = read_experiment(experiment).rows
            if row not in rows:
                row_of(experiment, row, where)


def _header(section: tuple[str, ...]) -> str:
    """The header of a section as a person writes it."""
    return f"[{'.'.join(name if re.fullmatch('[A-Za-z0-9_-]+', name) else as_written(name) for name in section)}]"
