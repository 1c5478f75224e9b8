"""The guidance sweep below paper scale: what a scale measures of it over the guidance weight, a panel a metric.

Figure 9 sets FID against Inception Score, which take Inception's network and 50,000 samples. Below paper scale there
is neither, so this is no Figure 9: a Fréchet distance under its own name, and where records have them the two sides of
the trade, precision (how real) and recall (how varied).
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.summary import Measured, summarise
from hdit_repro.records.rows import Index, of_row
from hdit_repro.records.schema import FLOOR, Record
from hdit_repro.render import measured
from hdit_repro.render.cells import significant
from hdit_repro.render.figures.style import OKABE_ITO, new_figure
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXPERIMENT = "guidance"
BARS = 90
"""Letters of a line above a panel."""


class Point(NamedTuple):
    """A metric at one guidance weight: the mean over trainings, and the ends of its bar.

    Of several trainings the bar is their standard deviation to both sides; of a single record its own interval.
    """

    guidance: float
    mean: float
    low: float
    high: float


class Line(NamedTuple):
    """A metric over the sweep by rising weight, under its own name, and what its bars are, in words."""

    metric: str
    points: tuple[Point, ...]
    bars: str


class Sweep(NamedTuple):
    """What is drawn: the distance, the two sides of the trade where they were measured, and the distance's floor.

    `samples` is the number behind each record, `weights` all that the sweep has.
    """

    scale: str
    distance: Line
    sides: tuple[Line, ...]
    floor: float | None
    samples: int
    weights: tuple[float, ...]


def sweep(records: Index, scale: str) -> Sweep:
    """The sweep of one scale; records of others are passed over."""
    runs = sorted((job.run for job in jobs.load(EXPERIMENT, scale)), key=lambda run: run.sampling.guidance)
    found = {run.sampling.guidance: of_row(records, scale, run) for run in runs}
    sides = [_line(found, name) for name in metric_names("precision-recall", kind_of(runs[0].evaluation.extractor))]
    return Sweep(
        scale=scale,
        distance=_line(found, measured.frechet_name(runs[0])),
        sides=tuple(line for line in sides if line.points),
        floor=measured.context_mean([record for group in found.values() for record in group], FLOOR),
        samples=runs[0].sampling.count,
        weights=tuple(found),
    )


def _line(found: dict[float, list[Record]], metric: str) -> Line:
    summed = ((weight, summarise(records, metric)) for weight, records in found.items())
    numbers = {weight: number for weight, number in summed if number is not None}
    return Line(metric, tuple(_point(*pair) for pair in numbers.items()), _bars(numbers.values()))


def _point(weight: float, number: Measured) -> Point:
    if number.sd is not None:
        return Point(weight, number.mean, number.mean - number.sd, number.mean + number.sd)
    interval = number.interval
    if interval is None or interval.low is None or interval.high is None:
        return Point(weight, number.mean, number.mean, number.mean)
    return Point(weight, number.mean, interval.low, interval.high)


def _bars(numbers: Iterable[Measured]) -> str:
    """What the bars of these numbers are, in words; empty where there are none."""
    words: dict[str, None] = {}
    for number in numbers:
        if number.sd is not None:
            words[f"standard deviation of {number.seeds} trainings"] = None
        elif number.interval is not None and number.interval.interval:
            words[number.interval.interval] = None
    return "; ".join(words)


def draw(material: Sweep) -> Figure:
    """A panel a metric over the guidance weight: the distance, then precision and recall where they were measured."""
    lines = (material.distance, *material.sides)
    figure = new_figure(height=1.2 + 2 * len(lines))
    panels = figure.subplots(len(lines), sharex=True, squeeze=False)[:, 0]
    figure.suptitle(f"Guidance sweep at {material.scale} scale, {material.samples:,} samples a weight", fontsize=9)
    for line, panel, better in zip(lines, panels, ("lower", "higher", "higher"), strict=False):
        _panel(panel, line, f"{line.metric}\n{material.scale} ({better} is better)")
    _remarks(panels[0], material)
    panels[0].set_xlim(min(material.weights) - 0.05, max(material.weights) + 0.05)
    panels[-1].set_xlabel("Guidance weight w (1 is no guidance)")
    return figure


def _panel(axes: Axes, line: Line, label: str) -> None:
    axes.set_ylabel(label, fontsize=8)
    axes.margins(y=0.25)
    axes.set_title(fill(f"bars: {line.bars}", BARS) if line.bars else "", fontsize=7, loc="left")
    if not line.points:
        return
    means = [point.mean for point in line.points]
    bars = [[max(0.0, p.mean - p.low) for p in line.points], [max(0.0, p.high - p.mean) for p in line.points]]
    axes.errorbar(
        [point.guidance for point in line.points], means, yerr=bars if any(map(any, bars)) else None,
        color=OKABE_ITO["blue"], ecolor=OKABE_ITO["sky"], marker="o", markersize=4, capsize=3, elinewidth=1.2,
        label=line.metric,
    )  # fmt: skip


def _remarks(axes: Axes, material: Sweep) -> None:
    """What the distance is read against, and how much of the sweep is missing, inside the panel."""
    count, of = len(material.distance.points), len(material.weights)
    said = []
    if count < of:
        said.append(f"{'measured' if count else 'not measured'} ({count} of {of} guidance weights)")
    if material.floor is not None:
        said.append(f"floor, as many real images: {significant(material.floor)}")
    axes.text(0.02, 0.03, ". ".join(said), transform=axes.transAxes, fontsize=8)
