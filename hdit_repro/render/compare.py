"""Two rows side by side: what differs in their configurations, numbers with intervals, curves, samples."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hdit_repro import jobs
from hdit_repro.audit.computed import say
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.summary import Measured
from hdit_repro.files import write_text
from hdit_repro.jobs import Job
from hdit_repro.jobs.merge import flatten
from hdit_repro.records import store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Record
from hdit_repro.render.cells import decimals, deviation, fixed
from hdit_repro.render.contrasts import Contrast, contrasts
from hdit_repro.render.report import curves, html
from hdit_repro.render.report.blocks import Block, Drawing, Gallery, Heading, Page, Picture, grid, slug, text
from hdit_repro.render.shown import may_show
from hdit_repro.spec.data import Folder


class Change(NamedTuple):
    """A field of the configuration in which two runs differ; None where one has no such field."""

    field: str
    one: Any
    other: Any


class Comparison(NamedTuple):
    """Two rows at a scale: their jobs, the changes, the metrics that both have, and their records; and how many files
    among the scale's records were left out."""

    one: Job
    other: Job
    changes: tuple[Change, ...]
    contrasts: tuple[Contrast, ...]
    records: tuple[tuple[Record, ...], tuple[Record, ...]]
    left_out: int

    @property
    def same(self) -> bool:
        """Whether the two are one run under two names."""
        return self.one.run.row_id == self.other.run.row_id

    def as_row(self) -> dict[str, Any]:
        """The comparison as `compare --json` prints it."""
        return {
            "one": self.one.name,
            "other": self.other.name,
            "scale": self.one.scale,
            "changes": [change._asdict() for change in self.changes],
            "metrics": [contrast.as_row() for contrast in self.contrasts],
        }


def compare(one: str, other: str, scale: str, roots: Roots, dataset: Folder | None = None) -> Comparison:
    """Compare two rows by name, on images of the user's own if they are given.

    Raises:
        UserError: there is no such run or scale.
    """
    pair = (jobs.find(one, scale, dataset=dataset), jobs.find(other, scale, dataset=dataset))
    records, problems = store.load(roots.records(scale))
    measurements = Measurements(records, scale)  # type: ignore[arg-type]
    left, right = (tuple(measurements.records(job.run)) for job in pair)
    found = tuple(contrasts(pair, measurements))
    return Comparison(pair[0], pair[1], tuple(changes(*pair)), found, (left, right), len(problems))


def changes(one: Job, other: Job) -> list[Change]:
    """Where the configurations differ, seeds aside."""
    left, right = (flatten(msgspec.to_builtins(job.run)) for job in (one, other))
    names = dict.fromkeys((*left, *right))
    return [Change(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]


def write_page(found: Comparison, roots: Roots, out: Path) -> Path:
    """The comparison as one page with its pictures beside it; returns the page."""
    folder = out / "images"
    blocks: list[Block] = [
        grid(
            "Where the configurations differ",
            ("field", found.one.name, found.other.name),
            [(change.field, said(change.one), said(change.other)) for change in found.changes],
        )
        if found.changes
        else text("The two are one run."),
        Heading(2, "Numbers"),
        grid(
            "Means over trainings",
            headings(found),
            [(c.metric, number(c.one), number(c.other), c.words()) for c in found.contrasts],
        )
        if found.contrasts
        else text("Not both rows have a record with the same metric at this scale."),
    ]
    sides = [list(_curves(job, records, roots)) for job, records in _sides(found)]
    if drawn := [curve for side in sides for curve in side]:
        svg = curves.draw(drawn)
        blocks += [Heading(2, "Learning curves"), Drawing("images/loss.svg", svg, curves.describe(drawn))]
        if all(sides) and any(change.field.startswith("diffusion.") for change in found.changes):
            blocks.append(text("The two are trained by different losses, so that their curves are not on one scale."))
        write_text(folder / "loss.svg", curves.alone(svg))
    pictures = [picture for job, records in _sides(found) for picture in _grids(job, records, roots, folder)]
    if pictures:
        blocks += [
            Heading(2, "Samples"),
            text("The same place is the same image number, from 0, row by row. Not chosen."),
            Gallery(tuple(pictures)),
        ]
    title = f"{found.one.name} against {found.other.name}"
    page = out / "index.html"
    write_text(out / html.STYLE, html.style())
    write_text(page, html.render(Page("index", title, tuple(blocks)), (), f"{found.one.scale} scale", markdown=False))
    return page


def headings(found: Comparison) -> tuple[str, str, str, str]:
    """Of the table of numbers; the last says which row is set against which."""
    one, other = found.one.name, found.other.name
    return "metric", one, other, f"{one} from {other}"


def number(found: Measured) -> str:
    """12.50 ± 0.20 (n = 3)."""
    digits = decimals(found.mean, 2)
    spread = "" if found.sd is None else f" ± {deviation(found.sd, digits)} (n = {found.seeds})"
    return fixed(found.mean, digits) + spread


def said(value: object) -> str:
    """A value of a configuration in words: 4, [384, 768], [neighborhood (kernel 7), global], – for none."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        others = ", ".join(f"{name} {said(inner)}" for name, inner in value.items() if name != "kind")
        kind = str(value.get("kind", ""))
        return f"{kind} ({others})" if kind and others else kind or others
    if isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
        return f"[{', '.join(map(said, value))}]"
    return say(value)


def _sides(found: Comparison) -> Iterable[tuple[Job, tuple[Record, ...]]]:
    return zip((found.one, found.other), found.records, strict=True)


def _curves(job: Job, records: tuple[Record, ...], roots: Roots) -> Iterable[curves.Curve]:
    runs = {record.training_id: record for record in records}
    for record in runs.values():
        folder = RunFolder(roots, record.spec, record.scale)
        curve = curves.read(folder.metrics, f"{job.name} seed {record.seed}")
        if curve is not None:
            yield curve


def _grids(job: Job, records: tuple[Record, ...], roots: Roots, folder: Path) -> Iterable[Picture]:
    for record in records[:1]:
        source = RunFolder(roots, record.spec, record.scale).grid
        if may_show(source):
            target = folder / f"{slug(job.name)}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            words = f"{job.name}, training seed {record.seed}"
            yield Picture(f"images/{target.name}", f"Grid of the first samples of {words}", words, sharp=True)
