"""The page of a row: its number, every value behind it, curves, samples; `origins.py` has where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hdit_repro.audit import Finding
from hdit_repro.audit.summary import sampling_sd, summarise
from hdit_repro.cost import count
from hdit_repro.records.layout import RunFolder
from hdit_repro.records.schema import CONTEXT, FLOOR, MADE_ELSEWHERE, UNTRAINED, Metric, Record
from hdit_repro.render.cells import decimals, fixed, hours, significant
from hdit_repro.render.measured import frechet_name
from hdit_repro.render.report import curves
from hdit_repro.render.report.badges import badge, reason
from hdit_repro.render.report.blocks import (
    Block,
    Code,
    Drawing,
    Gallery,
    Heading,
    Items,
    Page,
    Picture,
    Span,
    grid,
    slug,
    text,
    words,
)
from hdit_repro.render.report.facts import Entry, Facts
from hdit_repro.render.report.origins import commands, origins
from hdit_repro.render.shown import may_show
from hdit_repro.spec.base import kind_of

SHOWN_SEEDS = 8
"""Trainings of a row whose curves and samples are shown."""


def page(entry: Entry, facts: Facts) -> Page:
    """The page of a row, measured or not."""
    job = entry.job
    blocks: list[Block] = [
        text(f"{job.title}. " if job.title else "", "Also ", *_also(entry)) if len(entry.jobs) > 1 else text(job.title),
        Items(tuple(_summary(entry, facts))),
        *_values(entry, facts),
        *_pictures(entry, facts),
        *origins(entry.records),
        Heading(2, "How to reproduce", "reproduce"),
        Code("\n".join(commands(entry, facts.scale))),
    ]
    return Page(entry.path, f"{job.name}: {job.label}", tuple(blocks))


def _also(entry: Entry) -> Iterable[str | Span]:
    yield ", ".join(job.name for job in entry.jobs[1:])
    yield ": the same run."


def _summary(entry: Entry, facts: Facts) -> Iterable[tuple[Span, ...]]:
    run = entry.job.run
    if run.external:
        yield words(
            f"{run.external.images:,} images of {run.external.name}, made elsewhere, at {run.data.resolution}²."
        )
    else:
        cost = count(run.model, run.data.resolution)
        yield words(
            f"{cost.parameters:,} parameters, {cost.macs / 1e9:,.2f} × 10⁹ MACs a forward pass at "
            f"{run.data.resolution}², {run.training.samples_seen:,} images of {kind_of(run.data.dataset)} seen."
        )
    said: dict[tuple[str, str], list[Finding]] = {}
    for item in sorted(facts.findings, key=lambda item: item.claim.edition):
        if item.verdict and item.status == "measured" and item.claim.run in entry.names and facts.scale == "paper":
            said.setdefault((item.claim.text, item.verdict.words), []).append(item)
    for (printed, _), same in said.items():
        verdict = same[0].verdict
        assert verdict is not None
        places = "; ".join(item.claim.place for item in same)
        yield words(f"{places}, printed {printed}: ", badge(verdict), f" {reason(verdict)}.")
    if entry.records and run.external:
        yield words(f"Records: {len(entry.records)}. Nothing here trained a network for them.")
    elif entry.records:
        trainings = len({record.seed for record in entry.records})
        yield words(f"Trainings measured: {trainings}. Records: {len(entry.records)}.")
    else:
        price = facts.bills.many(entry.job, 1)
        what = "Measuring the images" if run.external else "One training with its samples"
        yield words(f"Not measured at {facts.scale} scale. {what} costs {price}.")
    for record in entry.aside:
        yield words(f"Record {record.evaluation_id} is measured by another protocol and left out of the means.")


def _values(entry: Entry, facts: Facts) -> Iterable[Block]:
    if not entry.records:
        return
    names = list(dict.fromkeys(name for record in entry.records for name in record.metrics))
    yield Heading(2, "Every value", "values")
    means = [(name, found) for name in names if (found := summarise(entry.records, name))]
    lines = [
        (
            name,
            _number(m.mean),
            _deviation(m.sd),
            str(m.seeds),
            _deviation(sampling_sd(m)),
            str(len(m.records)),
        )
        for name, m in means
    ]
    heads = ("metric", "mean", "sd between trainings", "n trainings", "sd between samplings", "records")
    yield grid("Means over trainings; several samplings of one training count once", heads, lines, heads[1:])
    contexts = _contexts(entry.records)
    columns: tuple[str, ...] = (
        "seed",
        "sampling seed",
        *names,
        *contexts,
        "GPU-hours",
        "signed",
        "record",
    )
    rows: list[tuple[str | Span, ...]] = [
        (
            *((str(record.seed), str(record.sampling_seed)) if record.protocol.drawn else ("–", "–")),
            *(_value(record.metrics.get(name)) for name in names),
            *(significant(record.context[c]) if c in record.context else "" for c in contexts),
            hours(record.provenance.gpu_hours),
            _signed(record, facts),
            Span(record.evaluation_id, f"#{record.evaluation_id}"),
        )
        for record in entry.records
    ]
    yield grid(_title(entry, contexts), columns, rows, columns[:-2])


def _deviation(value: float | None) -> str:
    return "–" if value is None else _number(value)


def _number(value: float) -> str:
    return fixed(value, decimals(value, 3))


def _contexts(records: Sequence[Record]) -> list[str]:
    return [name for name in CONTEXT if any(name in record.context for record in records)]


def _title(entry: Entry, contexts: Sequence[str]) -> str:
    """That two of the companions are Fréchet distances, beside whatever metrics."""
    distances = " and ".join(name for name in contexts if name in (UNTRAINED, FLOOR))
    return f"Each record; {distances}: {frechet_name(entry.job.run)}" if distances else "Each record"


def _value(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return _number(metric.value)
    digits = decimals(metric.value, 3)
    return f"{_number(metric.value)} [{fixed(metric.low, digits)}, {fixed(metric.high, digits)}]"


def _signed(record: Record, facts: Facts) -> str:
    found = facts.signed.get(record.evaluation_id)
    if found is None:
        return ""
    stale = f"changed after {', '.join(found.stale)} signed" if found.stale else ""
    return "; ".join(part for part in (", ".join(found.fitting), stale) if part)


def _folders(entry: Entry, facts: Facts) -> list[tuple[Record, RunFolder]]:
    return [(record, RunFolder(facts.roots, record.spec, record.scale)) for record in entry.records]


def _pictures(entry: Entry, facts: Facts) -> Iterable[Block]:
    folders = _folders(entry, facts)
    trainings = {record.training_id: (record, folder) for record, folder in reversed(folders)}
    first = sorted(trainings.values(), key=lambda pair: pair[0].seed)[:SHOWN_SEEDS]
    found = [c for record, folder in first if (c := curves.read(folder.metrics, f"seed {record.seed}"))]
    if found:
        yield Heading(2, "Learning curves", "curves")
        alt = curves.describe(found)
        yield Drawing(
            f"images/{slug(entry.job.name)}-loss.svg",
            curves.draw(found),
            alt,
            f"Training loss{_part(len(found), len(trainings), 'trainings')}, each point the mean of its stretch.",
        )
    grids = grids_of(entry, facts)
    if grids:
        yield Heading(2, "Samples", "samples")
        samplings = len({record.sampling_id for record in entry.records})
        part = _part(len(grids), samplings, "samplings") or " of each sampling"
        yield text(f"The first images{part}, numbers from 0, row by row. Not chosen.")
        yield Gallery(tuple(picture for picture, _ in grids))


def _part(shown: int, of: int, what: str) -> str:
    """That not all are shown: on a page the first SHOWN_SEEDS are, of those whose files lie on this disk."""
    return f" of {shown} of {of} {what}" if shown < of else ""


def grids_of(entry: Entry, facts: Facts) -> list[tuple[Picture, Path]]:
    """The sample grids of a row that are on this disk: the picture in the report, and its file."""
    found: list[tuple[Picture, Path]] = []
    seen: set[str] = set()
    for record, folder in _folders(entry, facts):
        if record.sampling_id in seen or len(seen) == SHOWN_SEEDS or not may_show(folder.grid):
            continue
        seen.add(record.sampling_id)
        seeds = f"training seed {record.seed}, sampling seed {record.sampling_seed}"
        words_ = f"{entry.job.name}, {seeds if record.protocol.drawn else MADE_ELSEWHERE}"
        picture = Picture(
            f"images/{slug(entry.job.name)}-{record.sampling_id}.png",
            f"Grid of the first samples of {words_}",
            words_,
            sharp=True,
        )
        found.append((picture, folder.grid))
    return found
