"""The pages beside the overview and the rows: tables, samples, figures, errata, commands."""

from __future__ import annotations

from collections.abc import Iterable

from hdit_repro.audit import Finding
from hdit_repro.render.cells import NOT_RUN, Cell
from hdit_repro.render.experiment_columns import NOT_MEASURED
from hdit_repro.render.figures import FIGURES
from hdit_repro.render.report.blocks import (
    Block,
    Code,
    Gallery,
    Grid,
    Group,
    Heading,
    Items,
    Page,
    Picture,
    Span,
    Words,
    grid,
    slug,
    text,
    words,
)
from hdit_repro.render.report.facts import Facts, records_behind
from hdit_repro.render.report.origins import commands
from hdit_repro.render.report.overview import page_by_name
from hdit_repro.render.report.row import grids_of
from hdit_repro.render.settled import beside
from hdit_repro.render.sheet import Sheet, by_group
from hdit_repro.render.wide import Letters, caption, parts


def tables(facts: Facts) -> Page:
    """Every table; names lead to their row's page, measured numbers to their records."""
    pages = page_by_name(facts)
    places = {
        record.evaluation_id: f"{e.path}.html#{record.evaluation_id}" for e in facts.entries for record in e.records
    }
    blocks: list[Block] = [
        text(
            "Rows lead to their pages, measured numbers to the records behind them."
            + (" Runs on images of one's own have no pages." if facts.own else "")
        ),
        Items(tuple(words(Span(sheet.title, f"#{slug(sheet.name)}")) for sheet in (*facts.sheets, *facts.own))),
    ]
    linked = [(sheet, pages) for sheet in facts.sheets]
    for sheet, known in (*linked, *((sheet, {}) for sheet in facts.own)):
        blocks += [
            Heading(2, sheet.title, slug(sheet.name)),
            *_sheets(sheet, known, places),
            Items(tuple(words(note) for note in sheet.notes)),
        ]
    return Page("tables", "Tables", tuple(blocks))


LETTERS, WIDEST = Letters(4.45, 7.2, 90, broken=True), 690
"""Points of the letters of a printed table, and of the widest: a browser makes a page smaller by a quarter at most."""

MARKS = {1: " (best)", 2: " (second)"}


def _sheets(sheet: Sheet, pages: dict[str, str], places: dict[str, str]) -> list[Grid]:
    """The table, in parts where a printed page would cut it off."""
    rows = tuple(
        tuple(cell._replace(text=f"{cell.text}{MARKS.get(cell.rank, '')}") for cell in row) for row in sheet.rows
    )
    found = parts(sheet._replace(rows=rows), LETTERS, WIDEST)
    titled = (part._replace(title=caption(sheet.title, at, len(found))) for at, part in enumerate(found, 1))
    return [_sheet(part, pages, places) for part in titled]


def _sheet(sheet: Sheet, pages: dict[str, str], places: dict[str, str]) -> Grid:
    rows: list[tuple[Words, ...] | Group] = []
    for group, lines in by_group(sheet):
        if group:
            rows.append(Group(group))
        rows += [tuple(words(_linked(cell, pages, places)) for cell in cells) for cells in lines]
    return Grid(
        caption=sheet.title,
        heads=tuple(head.own for head in sheet.heads),
        rows=tuple(rows),
        left=tuple(head.left for head in sheet.heads),
        uppers=tuple(head.upper for head in sheet.heads),
        titled=True,
    )


def _linked(cell: Cell, pages: dict[str, str], places: dict[str, str]) -> Span:
    known = (places[name] for name in records_behind(cell) if name in places)
    href = next(known, pages.get(str(cell.extra.get("run")), ""))
    if cell.value in (NOT_RUN, NOT_MEASURED):
        return Span(cell.text, tone="quiet")
    return Span(cell.text, href)


def samples(facts: Facts) -> Page:
    """All rows' samples side by side; the same place is the same image number."""
    blocks: list[Block] = [
        text("The first images of each row whose samples are on this disk, numbers from 0, row by row. Not chosen. The "
             "same place in two grids is the same image number: with the same seeds, size and classes the same start "
             "noise and the same label.")
    ]  # fmt: skip
    found = [grids[0][0] for entry in facts.measured if (grids := grids_of(entry, facts))]
    if found:
        blocks.append(Gallery(tuple(found)))
    else:
        blocks.append(text("No samples are on this disk."))
    return Page("samples", "Samples", tuple(blocks))


def figures(facts: Facts) -> Page:
    """The paper's figures that are computed, and what this scale has beside them."""
    apart = "" if facts.scale == "paper" else " Figure 9 draws measurements of paper scale alone."
    blocks: list[Block] = [text(f"Computed from job files, print and records of {facts.scale} scale.{apart}")]
    for name in shown_figures(facts):
        drawing = FIGURES[name]
        title = drawing.title if "paper" in drawing.scales else f"{drawing.title}, {facts.scale} scale"
        blocks += [Heading(2, title, name), Picture(f"figures/{name}.svg", drawing.alt)]
    return Page("figures", "Figures", tuple(blocks))


def shown_figures(facts: Facts) -> list[str]:
    """The paper's figures, and those of this scale that there is something for."""
    found = []
    for name, drawing in FIGURES.items():
        if "paper" in drawing.scales:
            found.append(name)
        elif facts.scale in drawing.scales:
            material = drawing.material(facts.given.ledger, facts.given.source.records, facts.scale)
            found += [name] if drawing.worth(material) else []
    return found


def errata(facts: Facts) -> Page:
    """What the audit finds wrong in print, and every claim that was checked."""
    rows = [(*_printed(item), item.note) for item in facts.errata]
    lines = [(*_printed(item), item.status) for item in facts.findings]
    return Page(
        "errata",
        "Errata and claims",
        (
            text(
                f"{len(rows)} printed numbers and statements are not what comes out. ",
                Span("All claims", "#claims"),
                " are below.",
            ),
            grid("Errata of the paper", ("place", "edition", "printed", "computed", "why"), rows),
            Heading(2, "All claims", "claims"),
            grid("Every printed number", ("place", "edition", "printed", "computed", "status"), lines),
            text("One claim's computation: ", Span("hdit-repro verify --explain CLAIM", code=True)),
        ),
    )


def _printed(finding: Finding) -> tuple[str, str, str, str]:
    """Where a claim is printed, in which edition, what, and what comes out."""
    claim = finding.claim
    return claim.place, str(claim.edition), claim.text, beside(finding.computed, claim)


def reproduce(facts: Facts) -> Page:
    """The exact command of each measured row, and the price of those that are not."""
    return Page("reproduce", "Reproduce", tuple(_reproduce(facts)))


def _reproduce(facts: Facts) -> Iterable[Block]:
    yield text(
        "From a checkout with ",
        Span("make setup", code=True),
        " done. Each command may be repeated; what exists is kept.",
    )
    if facts.measured:
        yield Heading(2, "Measured rows")
    for entry in facts.measured:
        yield Heading(3, f"{entry.job.name}: {entry.job.label}")
        yield Code("\n".join(commands(entry, facts.scale)))
    missing = [entry for entry in facts.entries if not entry.records]
    if missing:
        yield Heading(2, "Not measured yet")
        rows = [
            (
                Span(e.job.name, f"{e.path}.html"),
                facts.bills.many(e.job, 1),
                Span(commands(e, facts.scale)[0], code=True),
            )
            for e in missing
        ]
        yield grid("Rows without a record", ("row", "price of one training", "command"), rows)
