"""What stands under a table: units, disagreements, protocol, samples, floor, commit, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote

from hdit_repro import jobs
from hdit_repro.audit.decide import RULE
from hdit_repro.audit.summary import Measured
from hdit_repro.audit.verdicts import SHARED
from hdit_repro.cost.complexity import sides
from hdit_repro.jobs import Job
from hdit_repro.jobs.submitting import submitting
from hdit_repro.records.lint import difference
from hdit_repro.records.schema import FLOOR, MADE_ELSEWHERE, Protocol, Record
from hdit_repro.records.store import Problem
from hdit_repro.render.cells import Cell, fixed, significant
from hdit_repro.render.columns import Difference, Guidance, Ours
from hdit_repro.render.companions import Context
from hdit_repro.render.costs import Complexity, Counted, Parameters
from hdit_repro.render.definitions import Table
from hdit_repro.render.references import reference_notes
from hdit_repro.render.rows import Row
from hdit_repro.spec.evaluation import KIND_OF

SHORT = 12
"""Digits of a digest or commit that are shown."""


def notes(
    table: Table,
    rows: Sequence[Row],
    cells: Sequence[Sequence[Cell]],
    scale: str,
    problems: Sequence[Problem],
    folder: Path,
) -> list[str]:
    """The sentences under a table, in a fixed order, each once.

    Args:
        cells: of each row; their remarks are among the sentences.
        folder: where the records lie; problems are named under it.
    """
    found = [*table.notes, *_cost_notes(table, rows)]
    if scale == "paper":
        found += reference_notes(rows, table.references)
    found += [remark for row in cells for cell in row for remark in cell.remarks]
    if scale != "paper":
        found.append(_scale_note(table, scale))
    if _has(table, Ours):
        records = [record for row in rows for record in row.records]
        if table.protocol and not (records and scale == "paper"):  # else it is said beside the differences
            found.append(f"Print: {table.protocol}.")
        found += _measured_notes(table, rows, records, scale) if records else [_nothing_yet(table, rows, scale)]
        found += _aside(rows)
    found += [f"Left out: {problem.path.relative_to(folder).as_posix()}: {problem.reason}." for problem in problems]
    return list(dict.fromkeys(found))


def left_out(rows: Iterable[tuple[str, str]], scale: str, data: str = "") -> list[str]:
    """That rows, by experiment and name, cannot be at a scale; `data` is what `plan` must be told of images besides."""
    return [
        f"{file}/{name} cannot be at {scale} scale and is left out: "
        f"`hdit-repro plan {quote(file)} --rows {quote(name)} --scale {scale}{data}` says why."
        for file, name in rows
    ]


def _has(table: Table, *kinds: type) -> bool:
    return any(isinstance(column.source, kinds) for column in table.columns)


def _cost_notes(table: Table, rows: Sequence[Row]) -> list[str]:
    found = []
    if _has(table, Counted):
        found.append(
            "GFLOP in the paper means 10⁹ multiply-accumulates (MACs); a MAC is two floating-point operations. "
            "Printed and counted costs are both in 10⁹ MACs, of one forward pass of one image."
        )
    if _has(table, Counted, Complexity, Parameters):
        found.append("What is counted is counted from the configurations at paper scale.")
    if _has(table, Complexity):
        fitted = {side for row in rows if row.paper for side in sides(row.paper.run.model)}
        found.append(
            "Complexity is the highest term that matters in a + b·n + c·n² (n pixels), fitted to the costs counted "
            f"from {min(fitted)}² to {max(fitted)}²."
        )
    if _has(table, Parameters):
        own = sorted({row.paper.run.model.resolution for row in rows if row.paper})
        found.append(f"Parameters are those at {', '.join(f'{side}²' for side in own)}.")
    return found


def _scale_note(table: Table, scale: str) -> str:
    costs = ", and so is what is counted" if _has(table, Counted, Complexity, Parameters) else ""
    printed = f"What is printed is of paper scale{costs}. " if table.ledger else ""
    none = ", so no difference is shown" if table.ledger else ""  # from print
    return (
        f"Measured numbers are of {scale} scale: the same experiments with smaller networks, images and budgets. "
        f"{printed}Numbers of different scales are not compared{none}."
    )


def _aside(rows: Sequence[Row]) -> list[str]:
    """Numbers of different protocols are never averaged."""
    return [
        f"Left out ({row.key}): {', '.join(record.evaluation_id for record in row.aside)}, measured otherwise than the "
        f"row's other records ({difference(row.aside[0], row.records[0])})."
        for row in rows
        if row.aside
    ]


def _nothing_yet(table: Table, rows: Sequence[Row], scale: str) -> str:
    """The commands that measure the rows; where print has no such table, those of its experiment alone."""
    asked = [row.job for row in rows if row.job and (table.ledger or row.job.experiment == table.experiment)]
    lines = dict.fromkeys(
        f"hdit-repro eval --run {quote(job.name)} --scale {scale}{job.on_data}"
        if job.run.external
        else submitting(_shown(table, job.experiment, asked), scale, job.on_data)
        for job in asked
    )
    commands = ", ".join(f"`{line}`" for line in lines)
    return f"Nothing has been measured at {scale} scale yet: {commands}."


def _shown(table: Table, experiment: str, asked: Sequence[Job]) -> str:
    """An experiment, with the names of its rows where its own table does not show all: those that cannot be."""
    rows = [job.row for job in asked if job.experiment == experiment]
    if table.ledger or len(rows) == len(jobs.read(experiment).rows):
        return quote(experiment)
    return f"{quote(experiment)} --rows {quote(','.join(rows))}"


def _measured_notes(table: Table, rows: Sequence[Row], records: list[Record], scale: str) -> list[str]:
    own = _has(table, Guidance)
    found = [f"Ours ({names}): {text}." for text, names in _grouped(rows, partial(_protocol, guided=not own))]
    found += [f"Sampler ({names}): {text}." for text, names in _grouped(rows, _sampler) if text]
    found += [f"Intervals ({names}): {text}." for text, names in _intervals(table, rows)]
    if any(number.sd is not None for row in rows for number in _numbers(table, row)):
        found.append("±: sample standard deviation over n training seeds.")
    if scale == "paper" and table.ledger:
        found.append(
            f"Differences are ours less print. Print: {table.protocol}. Where ours above is another protocol, the "
            "difference holds that too."
            if _has(table, Difference)
            else f"Print: {table.protocol}."
        )
        found += _verdicts(rows)
        if any(row.judged for row in rows):
            found.append(f"Verdicts: {RULE}.")
    floors = _grouped(rows, _floor)
    if not _has(table, Context):
        found += [f"Floor ({names}): {text}, of as many real images." for text, names in floors if text]
    commits = sorted({_commit(record) for record in records})
    found.append(f"Measured at commit {', '.join(commits)}.")
    return found


def _grouped(rows: Sequence[Row], text: Callable[[Record], str]) -> list[tuple[str, str]]:
    """(text, names of the rows whose records say it), in order of first appearance."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        for record in row.records:
            names = groups.setdefault(text(record), [])
            if row.key not in names:
                names.append(row.key)
    return [(said, ", ".join(names)) for said, names in groups.items()]


def _protocol(record: Record, guided: bool) -> str:
    """How a number was measured; `guided` is whether the guidance weight is said here and in no column."""
    protocol, reference = record.protocol, record.protocol.reference
    return (
        f"{', '.join(record.metrics)} on {protocol.extractor} (weights {protocol.weights_digest[:SHORT]}, "
        f"resize {protocol.resize}); {fixed(protocol.samples, 0)} samples{_drawn(protocol, guided)}, "
        f"{'quantised to uint8' if protocol.quantised else 'not quantised'}; reference: {reference.kind} "
        f"{reference.name}, {reference.split}, {fixed(reference.count, 0)} images at {reference.resolution}² "
        f"(transform {reference.transform}, digest {reference.digest[:SHORT]})"
    )


def _drawn(protocol: Protocol, guided: bool) -> str:
    """What is said of how samples were drawn beside their number."""
    if not protocol.drawn:
        return f" {MADE_ELSEWHERE}"
    weight = f"{protocol.guidance:g}" if guided else "w"
    return f" of the {protocol.weights} weights, {protocol.label_words()}, guidance {weight}"


def _sampler(record: Record) -> str:
    protocol = record.protocol
    if not protocol.drawn:
        return ""
    return f"{protocol.sampler}, {protocol.steps} steps, {protocol.network_evaluations} network evaluations an image"


def _intervals(table: Table, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(how the intervals in the cells were made, names of the rows): in a word for all metrics, or by name.

    Cells over several records show none.
    """
    groups: dict[str, list[str]] = {}
    for row in rows:
        said = {number.name: str(number.interval.interval) for number in _numbers(table, row) if number.interval}
        shared = set(said.values())
        text = shared.pop() if len(shared) == 1 else "; ".join(f"{name}: {words}" for name, words in said.items())
        if text:
            groups.setdefault(text, []).append(row.key)
    return [(text, ", ".join(names)) for text, names in groups.items()]


def _numbers(table: Table, row: Row) -> list[Measured]:
    """The measured numbers that stand in a row."""
    sources = [column.source for column in table.columns if isinstance(column.source, Ours)]
    return [number for source in sources if (number := source.found(row))]


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """A line a verdict; of a margin, noise and price that several share, one line for all of them."""
    said = {_judged(row, column): words.partition(SHARED) for row in rows for column, words in row.judged.items()}
    sharing: dict[str, list[str]] = {}
    for name, (_, _, rest) in said.items():
        sharing.setdefault(rest, []).append(name)
    found = []
    for name, (own, mark, rest) in said.items():
        found.append(f"Verdict ({name}): {own}{'' if len(sharing[rest]) > 1 else mark + rest}.")
    shared = {rest: names for rest, names in sharing.items() if rest and len(names) > 1}
    mark = SHARED.lstrip(", ")
    return found + [f"Behind the verdicts on {', '.join(names)}: {mark}{rest}." for rest, names in shared.items()]


def _judged(row: Row, column: str) -> str:
    """The row's name, with the printed number's where the row has verdicts on several."""
    return row.key if len(row.judged) == 1 else f"{row.key}, {row.claims[column].place.rpartition(', ')[2]}"


def _floor(record: Record) -> str:
    """The distance that real images have, where the record has that distance of samples."""
    names = [name for name in record.metrics if KIND_OF[name.partition("@")[0]] == "frechet"]
    return f"{names[0]} {significant(record.context[FLOOR])}" if names and FLOOR in record.context else ""


def _commit(record: Record) -> str:
    dirt = {True: " with changes", False: "", None: ""}[record.provenance.dirty]
    return f"{record.provenance.commit[:SHORT]}{dirt}"
