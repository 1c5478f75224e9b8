"""All that one scale has, from its records alone: `hdit-repro render-tables`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hdit_repro import paper
from hdit_repro.audit import audit
from hdit_repro.errors import UserError, pick
from hdit_repro.jobs import SCALES, experiments
from hdit_repro.records.layout import Roots
from hdit_repro.render import readme
from hdit_repro.render.definitions import FORMATS, TABLES
from hdit_repro.render.experiments import measured_experiments, sheet_of_experiment
from hdit_repro.render.figures import FIGURES, Easel, made_at
from hdit_repro.render.tables import Material, material, render_tables, sheet_of, table_folder, write
from hdit_repro.spec.data import Folder


class Written(NamedTuple):
    """A file that was rendered: "table", "figure" or "readme"."""

    kind: str
    path: Path


def render(
    scale: str,
    roots: Roots,
    out: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    beside: bool = False,
) -> list[Written]:
    """Render the tables and figures of a scale; at paper scale the marked blocks of the workplace's README too.

    Experiments with records that no table of the paper shows have one each, `experiment-NAME`, unless names are given;
    `experiment-NAME-DATA` on the user's own images.

    Args:
        scale: "paper", "mini" or "smoke".
        roots: the workplace whose records are read.
        out: the folder to write to; None is the scale's own, and only then is the README touched.
        names: tables and figures by name ("table1", "figure2"); None is all, and only then is the README touched.
        beside: draw figures in a process of their own while the tables are made, where there is a processor for it.

    Raises:
        UserError: an unknown scale or name, something that this scale does not have, or a README whose markers do not
            match.
    """
    tables, figures = _split(names, scale)
    folder, ledger = out or table_folder(scale, roots), paper.read()
    with Easel(folder, beside=beside) as easel:
        early = [name for name in figures if not FIGURES[name].measured]
        for name in early:
            easel.put(name, FIGURES[name].material(ledger, {}, scale))
        given = material(scale, roots, ledger)
        for name in figures:
            if name in early:
                continue
            shown = FIGURES[name].material(ledger, given.source.records, scale)
            if names is not None or FIGURES[name].worth(shown):
                easel.put(name, shown)
        written = [Written("table", path) for path in render_tables(given, folder, tables)]
        for name, dataset in measured_experiments(given) if names is None else ():
            written += _experiment(name, given, folder, dataset)
        written += [Written("figure", path) for path in easel.take()]
    if scale == "paper" and out is None and names is None:
        written += _refresh(roots.results.parent / "README.md", given)
    return written


def render_experiment(
    experiment: str, scale: str, roots: Roots, out: Path | None = None, dataset: Folder | None = None
) -> list[Written]:
    """Render the table of one experiment at a scale, measured or not: `experiment-NAME` beside the paper's, and
    `experiment-NAME-DATA` on the user's own images.

    Raises:
        UserError: an unknown scale or experiment, or one of which no row can be at this scale; the name of a table.
    """
    if experiment in {**TABLES, **FIGURES} and experiment not in experiments():
        raise UserError(
            f"{experiment} is a table or a figure, and no experiment",
            found=repr(experiment),
            expected=", ".join(experiments()),
            fix=f"hdit-repro render-tables --tables {experiment} --scale {scale}",
        )
    return _experiment(experiment, material(scale, roots), out or table_folder(scale, roots), dataset)


def _experiment(name: str, given: Material, out: Path, dataset: Folder | None) -> list[Written]:
    return [Written("table", path) for path in write(sheet_of_experiment(name, given, dataset), FORMATS, out)]


def _split(names: Sequence[str] | None, scale: str) -> tuple[list[str] | None, list[str]]:
    """Names of tables, None for all, and of figures.

    Raises:
        UserError: an unknown name, or a figure that this scale does not have.
    """
    pick(dict.fromkeys(SCALES), scale, kind="scale")
    if names is None:
        return None, made_at(scale)
    for name in names:
        pick({**TABLES, **FIGURES}, name, kind="table")
    figures = [name for name in names if name in FIGURES]
    for name in figures:
        if scale not in FIGURES[name].scales:
            raise _not_made(name, scale)
    return [name for name in names if name in TABLES], figures


def _not_made(figure: str, scale: str) -> UserError:
    """The refusal of a figure at a scale that does not have it, with the nearest thing that there is."""
    scales = FIGURES[figure].scales
    if figure == "figure9":
        fix = f"hdit-repro render-tables --scale {scale} --tables guidance"
    else:
        fix = f"hdit-repro render-tables --scale {scales[0]} --tables {figure}"
    return UserError(f"{figure} is not made at {scale} scale", found=scale, expected=", ".join(scales), fix=fix)


def _refresh(path: Path, given: Material) -> list[Written]:
    blocks = {
        "table1": lambda: readme.table1(sheet_of(readme.TABLE, given)),
        "errata": lambda: readme.errata(audit(given.ledger, given.records)),
        "figure2": readme.figure2,
    }
    return [Written("readme", path)] if readme.refresh(path, blocks) else []
