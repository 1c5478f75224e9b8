"""The first page: what is reproduced, what is not, what it cost, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hdit_repro.audit.decide import RULE, Outcome
from hdit_repro.audit.orders import ORDER_RULE
from hdit_repro.audit.verdicts import Verdict
from hdit_repro.paper import Claim
from hdit_repro.records.schema import Record
from hdit_repro.render.report.blocks import Block, Code, Heading, Items, Page, Span, Tone, Words, grid, text, words
from hdit_repro.render.report.facts import Facts

TONES: dict[Outcome, Tone] = {"reproduced": "good", "not reproduced": "bad", "inconclusive": "open"}
SHORT = 12


def overview(facts: Facts) -> Page:
    """Counts first, then verdicts, ranks, cost, and what was left out."""
    blocks: list[Block] = [
        text(
            "Every number that the Hourglass Diffusion Transformer paper prints, recomputed where that needs no "
            f"training, and measured at {facts.scale} scale where records are there."
        ),
        Items(tuple(_counts(facts))),
        *_verdicts(facts),
        *_ranks(facts),
        *_cost(facts),
        *_left_out(facts),
    ]
    return Page("index", "Overview", tuple(blocks))


def badge(verdict: Verdict) -> Span:
    """The verdict as a coloured word."""
    return Span(verdict.outcome, tone=TONES[verdict.outcome])


def reason(verdict: Verdict) -> str:
    """The sentence without the verdict that it begins with."""
    return verdict.words.partition(": ")[2]


def _counts(facts: Facts) -> Iterable[Words]:
    statuses = Counter(finding.status for finding in facts.findings)
    yield words(
        f"Recomputed without training: {statuses['holds']} printed numbers hold, ",
        Span(f"{statuses['erratum']} are errata", "errata.html"),
        f"; {statuses['needs-run'] + statuses['measured']} need a run or another source.",
    )
    outcomes = Counter(verdict.outcome for _, verdict in _cells(facts))
    said = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in TONES)
    if facts.scale == "paper":
        yield words(f"Measured cells: {said}." if outcomes else "Measured cells: none yet.")
    else:
        yield words(
            f"Measured at {facts.scale} scale: {len(facts.measured)} of {len(facts.entries)} rows. These are other, "
            "smaller networks, so no number is held against print; only orders are."
        )
    ordered = Counter(verdict.outcome for verdict in facts.orders.values())
    said = ", ".join(f"{ordered[outcome]} {outcome}" for outcome in TONES)
    yield words(f"Claims of order: {said}." if ordered else "Claims of order: none is measured on both sides yet.")
    signed = sum(bool(one.fitting) for one in facts.signed.values())
    yield words(f"Records: {len(facts.given.records)}, {signed} of them signed, {len(facts.problems)} files left out.")


def _cells(facts: Facts) -> list[tuple[Claim, Verdict]]:
    """Verdicts on printed numbers; at paper scale only."""
    if facts.scale != "paper":
        return []
    return [(item.claim, item.verdict) for item in facts.findings if item.verdict and item.status == "measured"]


def _verdicts(facts: Facts) -> Iterable[Block]:
    cells = _cells(facts)
    pages = pages_of(facts)
    if cells:
        yield Heading(2, "Printed numbers", "cells")
        rows = [
            (Span(claim.place, pages.get(claim.run or "", "")), claim.text, badge(v), reason(v)) for claim, v in cells
        ]
        yield grid("Printed numbers with a measurement", ("number", "printed", "verdict", "why"), list(rows))
        yield text(f"Rule: {RULE}.")
    yield Heading(2, "Claims of order", "orders")
    if not facts.orders:
        yield text("No claim of order has records on both sides yet.")
        return
    ledger = facts.given.ledger
    found = [(ledger.claim(name), verdict) for name, verdict in facts.orders.items()]
    lines = [(claim.place, f"“{claim.text}”: {claim.printed}", badge(v), reason(v)) for claim, v in found]
    yield grid(
        "What the paper says about order, against our measurements", ("place", "claim", "verdict", "why"), list(lines)
    )
    if facts.scale != "paper":
        yield text(
            f"These verdicts are about networks of {facts.scale} scale, and no more than a hint about the paper's."
        )
    yield text(f"Rule: {ORDER_RULE}.")


def pages_of(facts: Facts) -> dict[str, str]:
    """Page of a row by each of its jobs' names, with the experiment's name before it where the job leaves it out."""
    return {
        name: f"{entry.path}.html"
        for entry in facts.entries
        for job in entry.jobs
        for name in (job.name, f"{job.experiment}/{job.row}")
    }


def _ranks(facts: Facts) -> Iterable[Block]:
    if facts.ranks:
        yield Heading(2, "Order of the rows", "ranks")
        titles = facts.given.ledger.tables
        yield Items(tuple(words(f"{titles[rank.table].title}: {rank.words()}.") for rank in facts.ranks))


def _cost(facts: Facts) -> Iterable[Block]:
    yield Heading(2, "What it cost", "cost")
    hours, seconds = spent(facts.given.records)
    devices = ", ".join(sorted({record.provenance.device for record in facts.given.records}))
    if facts.given.records:
        yield text(f"Spent: {hours:,.1f} GPU-hours, {seconds / 3600:,.2f} hours of wall time, on {devices}.")
    missing = [entry for entry in facts.entries if not entry.records]
    if missing:
        price = facts.bills.many_of([entry.job for entry in missing], 1)
        yield text(f"Not measured yet at {facts.scale} scale: {len(missing)} rows. One training of each costs {price}.")
        names = dict.fromkeys(entry.job.experiment for entry in missing)
        yield Code("\n".join(f"hdit-repro submit {name} --scale {facts.scale}" for name in names))


def spent(records: Iterable[Record]) -> tuple[float, float]:
    """GPU-hours and seconds; what several records share (one training, one sampling) is counted once."""
    hours: dict[str, float] = {}
    seconds: dict[tuple[str, str], float] = {}
    for record in records:
        made = record.provenance
        hours[record.training_id] = max(hours.get(record.training_id, 0.0), made.gpu_hours)
        ids = {"train": record.training_id, "sample": record.sampling_id, "evaluate": record.evaluation_id}
        for stage, value in made.seconds.items():
            seconds[stage, ids.get(stage, record.evaluation_id)] = value
    return sum(hours.values()), sum(seconds.values())


def _left_out(facts: Facts) -> Iterable[Block]:
    stale = [(name, one) for name, one in facts.signed.items() if one.stale]
    if not facts.problems and not stale and not facts.unknown:
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
    yield Items(tuple(items))
