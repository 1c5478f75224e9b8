"""The page of a row: its number, every value behind it, curves, samples, protocol, provenance, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote

from hdit_repro import jobs
from hdit_repro.audit import Finding
from hdit_repro.audit.summary import sampling_sd, summarise
from hdit_repro.cost import count
from hdit_repro.jobs import Job
from hdit_repro.records.layout import STAGES, RunFolder
from hdit_repro.records.schema import CONTEXT, MADE_ELSEWHERE, Metric, Record, on_processor
from hdit_repro.records.store import place
from hdit_repro.render.cells import decimals, fixed, hours, significant
from hdit_repro.render.notes import SHORT
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
from hdit_repro.render.shown import may_show
from hdit_repro.spec.base import kind_of

OWN = ("seeds", "time", "file", "digest")
"""What is always said of each record."""

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
        *_how(entry.records),
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
    yield grid("Each record", columns, rows, columns[:-2])


def _deviation(value: float | None) -> str:
    return "–" if value is None else _number(value)


def _number(value: float) -> str:
    return fixed(value, decimals(value, 3))


def _contexts(records: Sequence[Record]) -> list[str]:
    return [name for name in CONTEXT if any(name in record.context for record in records)]


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


def _how(records: Sequence[Record]) -> Iterable[Block]:
    """Protocol and provenance, a line a record; what all share is said once."""
    if not records:
        return
    yield Heading(2, "Protocol and provenance", "provenance")
    facts = {record.evaluation_id: dict(_details(record)) for record in records}
    keys = list(next(iter(facts.values())))
    shared = {key for key in keys if key not in OWN and len({found.get(key) for found in facts.values()}) == 1}
    first = next(iter(facts.values()))
    yield grid("The same for all records", ("field", "value"), [(key, first[key]) for key in keys if key in shared])
    own = [key for key in keys if key not in shared]
    rows: list[tuple[str | Span, ...]] = [
        (Span(name, code=True), *(found.get(key, "") for key in own)) for name, found in facts.items()
    ]
    yield grid("Of each record", ("record", *own), rows, anchors=tuple(facts))


def _details(record: Record) -> Iterable[tuple[str, str]]:
    protocol, reference, made = record.protocol, record.protocol.reference, record.provenance
    yield (
        "feature network",
        f"{protocol.extractor}, weights {protocol.weights_digest[:SHORT]}, resize {protocol.resize}",
    )
    yield (
        "reference",
        f"{reference.kind} {reference.name}, {reference.split}, {reference.count:,} images at {reference.resolution}², "
        f"transform {reference.transform}, digest {reference.digest[:SHORT]}",
    )
    if protocol.drawn:
        yield "samples", f"{protocol.samples:,}, {protocol.weights} weights, {protocol.label_words()}"
        yield (
            "sampler",
            f"{protocol.sampler}, {protocol.steps} steps, {protocol.network_evaluations} network evaluations an image, "
            f"guidance {protocol.guidance:g}",
        )
        yield "seeds", f"training\u00a0{record.seed}, sampling\u00a0{record.sampling_seed}"
    else:
        yield "samples", f"{protocol.samples:,}, {MADE_ELSEWHERE}"
    dirt = {True: ", with uncommitted changes", False: "", None: ", changes unknown"}[made.dirty]
    yield "commit", f"{made.commit[:SHORT]}{dirt}"
    yield "machine", f"{made.device}, {made.host}"
    yield "versions", ", ".join(f"{name} {value}" for name, value in made.versions.items())
    yield "seconds", ", ".join(f"{stage} {value:,.0f}" for stage, value in made.seconds.items())
    split = "; ".join(_stage_hours(stage, used) for stage in STAGES if (used := made.gpu_hours_by_stage.get(stage)))
    yield "GPU-hours", split or f"{hours(made.gpu_hours)} in all"
    yield "time", made.time
    yield "intervals", "; ".join(dict.fromkeys(m.interval for m in record.metrics.values() if m.interval)) or "none"
    yield "file", place(Path(), record).as_posix()
    yield "digest", record.digest


def _stage_hours(stage: str, used: Mapping[str, float]) -> str:
    """In words: "train 40.0 on NVIDIA H100"; of a processor its name alone."""
    found = (device if on_processor(device) else f"{hours(value)} on {device}" for device, value in used.items())
    return f"{stage} {', '.join(found)}"


def commands(entry: Entry, scale: str) -> list[str]:
    """What gives these numbers again, from the commit to the report."""
    job, scaled = entry.job, "" if scale == "paper" else f" --scale {scale}"
    made: dict[str, list[Record]] = {} if entry.records else {"unknown": []}
    for record in entry.records:
        made.setdefault(record.provenance.commit, []).append(record)
    lines = []
    for commit, records in made.items():
        if len(made) > 1:
            lines.append(f"# {', '.join(place(Path(), record).as_posix() for record in records)}")
        if commit != "unknown":
            lines.append(f"git checkout {commit}")
        lines += _imported(job, scaled) if job.run.external else [_submitted(job, records, scaled)]
    return [*lines, f"hdit-repro report{scaled}"]


def _submitted(job: Job, records: Sequence[Record], scaled: str) -> str:
    """The command that trains, samples and measures what these records hold."""
    seeds = max((record.seed for record in records), default=0) + 1
    samplings = max((record.sampling_seed for record in records), default=0) + 1
    repeated = "" if seeds == 1 else f" --seeds {seeds}"
    sampled = "" if samplings == 1 else f" --sampling-seeds {samplings}"
    return f"hdit-repro submit {quote(job.experiment)} --rows {quote(job.row)}{scaled}{repeated}{sampled} --wait"


def _imported(job: Job, scaled: str) -> list[str]:
    """Those that measure images of others; where they lie on another machine is not known."""
    like = jobs.read(job.experiment).rows[job.row].get("extends", "")
    return [
        f"hdit-repro import --from images --name {job.name} --like {like} PATH",
        f"hdit-repro eval --run {job.name}{scaled}",
    ]
