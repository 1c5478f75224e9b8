"""Writes a report: a folder that appears whole, or not at all, in the place of the report that was there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import needing_room, write_json
from hdit_repro.records.layout import Roots
from hdit_repro.render.figures import render_figures
from hdit_repro.render.report import curves, html, markdown, others, overview, row
from hdit_repro.render.report.blocks import Drawing, Page
from hdit_repro.render.report.facts import Facts, gather

MARKER = "report.json"
"""Says that a folder is a report, so that the next one may take its place."""


class Built(NamedTuple):
    """A report: where, and how much is in it."""

    folder: Path
    first: Path
    pages: int
    records: int
    problems: int


def build(scale: str, roots: Roots, out: Path | None = None) -> Built:
    """Make the report of a scale from records, ledger and runs.

    Args:
        scale: "paper", "mini" or "smoke".
        roots: the workplace.
        out: the folder; None is `runs/report/SCALE`.

    Raises:
        UserError: an unknown scale, or a folder that holds something else than a report.
    """
    target = out or roots.runs / "report" / scale
    _refuse_strangers(target)
    facts = gather(scale, roots)
    pages = pages_of(facts)
    place = target.resolve() if target.is_symlink() else target  # a link to a report stays one
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.urandom(8).hex()}")
    temporary.mkdir()  # with the umask's mode, so that whoever shares the folder can replace it
    try:
        with needing_room(target, "room for the whole report; the one before is untouched"):
            _write(pages, facts, temporary)
        _swap(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Built(target, target / "index.html", len(pages), len(facts.given.records), len(facts.problems))


def pages_of(facts: Facts) -> list[Page]:
    """All pages, the rows' last."""
    return [*navigation(facts), *(row.page(entry, facts) for entry in facts.entries)]


def navigation(facts: Facts) -> list[Page]:
    """The pages that every page links to."""
    return [
        overview.overview(facts),
        others.tables(facts),
        others.samples(facts),
        others.figures(facts),
        others.errata(facts),
        others.reproduce(facts),
    ]


def _write(pages: list[Page], facts: Facts, folder: Path) -> None:
    linked = [page for page in pages if "/" not in page.path]
    subtitle = f"{facts.scale} scale"
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.html").write_text(html.render(page, linked, subtitle), encoding="utf-8")
        path.with_name(f"{path.name}.md").write_text(markdown.render(page, subtitle), encoding="utf-8")
        for block in page.blocks:
            if isinstance(block, Drawing):
                (folder / block.path).parent.mkdir(exist_ok=True)
                (folder / block.path).write_text(curves.alone(block.svg), encoding="utf-8")
    (folder / html.STYLE).write_text(html.style(), encoding="utf-8")
    for entry in facts.measured:
        for picture, source in row.grids_of(entry, facts):
            (folder / picture.path).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, folder / picture.path)
    shown, given = others.shown_figures(facts), facts.given
    render_figures(folder / "figures", given.source.records, shown, given.ledger, ("svg",), facts.scale)
    write_json(folder / MARKER, {"scale": facts.scale, "records": len(facts.given.records), "pages": len(pages)})


def _refuse_strangers(folder: Path) -> None:
    """A report replaces a report and nothing else."""
    if folder.exists() and not (folder / MARKER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            "a report would replace something that is none",
            found=str(folder),
            expected="a folder that is missing, empty, or a report",
            fix="hdit-repro report --out ANOTHER_FOLDER",
        )


def _swap(made: Path, target: Path) -> None:
    """Put the folder in its place; what was there goes when the new one stands. Another report may take the place
    meanwhile, and then goes in its turn."""
    old: list[Path] = []
    while True:
        try:
            made.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old.append(made.with_name(f"{made.name}.old{len(old)}"))
        with contextlib.suppress(FileNotFoundError):
            target.rename(old[-1])
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
