"""The first page: what is reproduced, what is not, what it cost, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from shlex import quote

from hdit_repro.audit.decide import RULE
from hdit_repro.audit.findings import count_rows
from hdit_repro.audit.orders import ORDER_RULE
from hdit_repro.audit.summary import summarise
from hdit_repro.audit.verdicts import Verdict
from hdit_repro.errors import counted
from hdit_repro.paper import Claim
from hdit_repro.records.schema import FLOOR, UNTRAINED, asked_samples, metric_name
from hdit_repro.render.cells import deviation, fixed, hours, significant
from hdit_repro.render.measured import context_mean, frechet_name
from hdit_repro.render.report.badges import TONES, badge, reason
from hdit_repro.render.report.blocks import (
    Block,
    Gallery,
    Heading,
    Items,
    Page,
    Span,
    Tile,
    Tiles,
    grid,
    text,
    words,
)
from hdit_repro.render.report.cost import cost, spent
from hdit_repro.render.report.facts import Entry, Facts
from hdit_repro.render.report.row import grids_of
from hdit_repro.render.settled import beside
from hdit_repro.spec.base import kind_of

GRIDS = 4
"""Rows whose samples the first page shows."""


def overview(facts: Facts) -> Page:
    """What matters in numbers, what was measured, verdicts, ranks, errata, cost, and what was left out."""
    blocks: list[Block] = [
        text(
            "Every number that “Scalable High-Resolution Pixel-Space Image Synthesis with Hourglass Diffusion "
            "Transformers” (Crowson, Baumann, Birch et al., ICML 2024) prints, recomputed where that needs no "
            f"training, and measured at {facts.scale} scale where there are records."
        ),
        Tiles(tuple(_tiles(facts))),
        *_measured(facts),
        *_verdicts(facts),
        *_ranks(facts),
        *_noise(facts),
        *_errata(facts),
        *cost(facts),
        *_left_out(facts),
    ]
    return Page("index", "Overview", tuple(blocks))


def _tiles(facts: Facts) -> Iterable[Tile]:
    statuses = Counter(finding.status for finding in facts.findings)
    yield Tile(
        f"{statuses['holds']}", "printed numbers hold", "recomputed without training", "errata.html#claims", "good"
    )
    yield Tile(f"{statuses['erratum']}", "errata", "print and computation part", "errata.html", "bad")
    yield Tile(
        f"{statuses['needs-run']}",
        "need a run or a source",
        "no computation settles them",
        "reproduce.html",
        "open",
    )
    yield Tile(
        f"{len(facts.measured)} of {len(facts.entries)}",
        f"rows measured at {facts.scale} scale",
        _records_in_words(facts),
        "#measured" if facts.measured else "reproduce.html",
    )
    if facts.scale == "paper":
        cells = _cells(facts)
        rows = count_rows(claim for claim, _ in cells)
        where = f", of {counted(rows, 'row')}, each wherever it is printed"
        yield _outcomes("Printed numbers", [verdict for _, verdict in cells], "#cells", where)
    yield _outcomes("Claims of order", list(facts.orders.values()), "#orders")


def _records_in_words(facts: Facts) -> str:
    signed = sum(bool(one.fitting) for one in facts.signed.values())
    count, left = len(facts.given.records), len(facts.problems)
    return f"{counted(count, 'record')}, {signed} signed, {counted(left, 'file')} left out"


def _outcomes(what: str, verdicts: list[Verdict], href: str, where: str = "") -> Tile:
    """How many were reproduced, of how many that were measured, and `where` they stand."""
    found = Counter(verdict.outcome for verdict in verdicts)
    if not found:
        return Tile("none yet", what.lower(), "no verdict without a measurement")
    rest = ", ".join(f"{found[outcome]} {outcome}" for outcome in TONES if outcome != "reproduced")
    return Tile(f"{found['reproduced']} of {len(verdicts)}", f"{what.lower()} reproduced", rest + where, href)


def _measured(facts: Facts) -> Iterable[Block]:
    """Each measured row with its number, and the samples of the first few."""
    if not facts.measured:
        return
    yield Heading(2, "What was measured", "measured")
    if facts.scale != "paper":
        yield text(
            f"Networks of {facts.scale} scale are other, smaller ones: their numbers are held against no print, and "
            "stand beside their own bounds, an untrained network and real images against real images."
        )
    yield grid("Rows with records", MEASURED, [_measured_row(entry) for entry in facts.measured], MEASURED[2:])
    grids = (found[0][0] for entry in facts.measured if (found := grids_of(entry, facts)))
    if pictures := tuple(islice(grids, GRIDS)):
        yield Gallery(pictures)
        yield text("First images of each, numbers from 0, not chosen. ", Span("All samples", "samples.html"))


MEASURED = ("row", "metric", "ours", "n", "untrained", "real against real", "GPU-hours")


def _measured_row(entry: Entry) -> tuple[str | Span, ...]:
    records, name = entry.records, _metric(entry)
    found = summarise(records, name)
    ours = "–" if found is None else fixed(found.mean, 2) + ("" if found.sd is None else f" ± {deviation(found.sd, 2)}")
    bounds = (context_mean(records, UNTRAINED), context_mean(records, FLOOR))
    return (
        Span(f"{entry.job.name}: {entry.job.label}", f"{entry.path}.html"),
        name,
        Span(ours, f"{entry.path}.html#values"),
        "–" if found is None else str(found.seeds),
        *("–" if value is None else significant(value) for value in bounds),
        hours(spent(records).total),
    )


def _noise(facts: Facts) -> Iterable[Block]:
    """What the verdicts take for luck, by metric and data."""
    found: dict[str, None] = {}
    for entry in facts.measured:
        run = entry.job.run
        name = _metric(entry)
        data = f"{kind_of(run.data.dataset)} at {run.data.resolution}²"
        found.setdefault(f"{name}, {data}: {facts.measurements.noise(run, name).words()}.")
    if found:
        yield Heading(2, "How large luck is", "noise")
        yield Items(tuple(words(line) for line in found))


def _metric(entry: Entry) -> str:
    """The name of a measured row's Fréchet distance, with its count where that is not the scale's."""
    run = entry.job.run
    count = run.sampling.count
    return metric_name(frechet_name(run), count, asked_samples(entry.records[0].scale, count))


def _errata(facts: Facts) -> Iterable[Block]:
    """Where print errs, and why."""
    if not facts.errata:
        return
    yield Heading(2, "Errata of the paper", "errata")
    rows = [(item.claim.place, item.claim.text, beside(item.computed, item.claim), item.note) for item in facts.errata]
    yield grid("Where print and computation part", ("place", "printed", "computed", "why"), rows)
    yield text(Span("Every claim with what it comes to", "errata.html#claims"))


def _cells(facts: Facts) -> list[tuple[Claim, Verdict]]:
    """Verdicts on printed numbers; at paper scale only."""
    if facts.scale != "paper":
        return []
    found = [(item.claim, item.verdict) for item in facts.findings if item.verdict and item.status == "measured"]
    return sorted(found, key=lambda cell: cell[0].edition)


def _verdicts(facts: Facts) -> Iterable[Block]:
    cells = _cells(facts)
    pages = page_by_name(facts)
    if cells:
        yield Heading(2, "Printed numbers", "cells")
        rows = [
            (Span(claim.place, pages.get(claim.run or "", "")), claim.text, badge(v), reason(v)) for claim, v in cells
        ]
        yield grid("Printed numbers with a measurement", ("number", "printed", "verdict", "why"), rows)
        yield text(f"Rule: {RULE}.")
    yield Heading(2, "Claims of order", "orders")
    if not facts.orders:
        yield text("No claim of order has records on both sides yet.")
        return
    ledger = facts.given.ledger
    found = [(ledger.claim(name), verdict) for name, verdict in facts.orders.items()]
    lines = [(claim.place, f"“{claim.text}”: {claim.printed}", badge(v), reason(v)) for claim, v in found]
    yield grid("What the paper says about order, against our measurements", ("place", "claim", "verdict", "why"), lines)
    if facts.scale != "paper":
        yield text(
            f"These verdicts are about networks of {facts.scale} scale, and no more than a hint about the paper's."
        )
    yield text(f"Rule: {ORDER_RULE}.")


def page_by_name(facts: Facts) -> dict[str, str]:
    """Page of a row by each of its names."""
    return {name: f"{entry.path}.html" for entry in facts.entries for name in entry.names}


def _ranks(facts: Facts) -> Iterable[Block]:
    if facts.ranks:
        yield Heading(2, "Order of the rows", "ranks")
        titles = facts.given.ledger.tables
        yield Items(tuple(words(f"{titles[rank.table].title}: {rank.words()}.") for rank in facts.ranks))


def _left_out(facts: Facts) -> Iterable[Block]:
    stale = [(name, one) for name, one in facts.signed.items() if one.stale]
    if not facts.problems and not stale and not facts.unknown and not facts.refused and not facts.misread:
        return
    yield Heading(2, "Left out or in doubt", "left-out")
    folder = facts.given.folder
    items = [
        words(Span(problem.path.relative_to(folder).as_posix(), code=True), f": {problem.reason}.")
        for problem in facts.problems
    ]
    items += [words(Span(name, code=True), f": changed after {', '.join(one.stale)} signed it.") for name, one in stale]
    items += [
        words(
            Span(record.evaluation_id, code=True), f": a whole record of {', '.join(record.names)} of no present job."
        )
        for record in facts.unknown
    ]
    items += [
        words(Span(name, code=True), f": an experiment that is not understood: {why}.") for name, why in facts.misread
    ]
    items += [
        words(
            Span(f"{experiment}/{row}", code=True),
            f": a row that cannot be at {facts.scale} scale; `hdit-repro plan {quote(experiment)} --rows {quote(row)} "
            f"--scale {facts.scale}` says why.",
        )
        for experiment, row in facts.refused
    ]
    yield Items(tuple(items))
