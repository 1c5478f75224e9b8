"""How the numbers of a row were measured, where they come from, and the commands that give them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote

from hdit_repro import jobs
from hdit_repro.jobs import Job
from hdit_repro.jobs.submitting import submitting
from hdit_repro.records.layout import STAGES
from hdit_repro.records.schema import MADE_ELSEWHERE, Record, on_processor
from hdit_repro.records.store import place
from hdit_repro.render.cells import hours
from hdit_repro.render.notes import SHORT
from hdit_repro.render.report.blocks import Block, Heading, Span, grid
from hdit_repro.render.report.facts import Entry

OWN = ("seeds", "time", "file", "digest")
"""What is always said of each record."""


def origins(records: Sequence[Record]) -> Iterable[Block]:
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
        lines += _imported(job, scaled) if job.run.external else [_submitted(job, records, scale)]
    return [*lines, f"hdit-repro report{scaled}"]


def _submitted(job: Job, records: Sequence[Record], scale: str) -> str:
    """The command that trains, samples and measures what these records hold."""
    seeds = max((record.seed for record in records), default=0) + 1
    samplings = max((record.sampling_seed for record in records), default=0) + 1
    repeated = "" if seeds == 1 else f" --seeds {seeds}"
    sampled = "" if samplings == 1 else f" --sampling-seeds {samplings}"
    return submitting(f"{quote(job.experiment)} --rows {quote(job.row)}", scale, repeated + sampled, wait=True)


def _imported(job: Job, scaled: str) -> list[str]:
    """Those that measure images of others; where they lie on another machine is not known."""
    like = jobs.read(job.experiment).rows[job.row].get("extends", "")
    return [
        f"hdit-repro import --from images --name {job.name} --like {like} PATH",
        f"hdit-repro eval --run {job.name}{scaled}",
    ]
