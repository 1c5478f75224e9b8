"""Learning curves: the training loss over steps, read from a run's metrics and drawn as SVG in the page's colours."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from hdit_repro.files import read_text
from hdit_repro.render.shown import may_show
from hdit_repro.spec.base import LARGEST

POINTS = 240
"""Points that a curve is thinned to, each the mean over its stretch."""

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 44
"""The drawing and its margins, in its own units."""

SAMPLE, LETTER = 44, 8
"""Widths in the legend: a line with the gaps around it, and a wide letter."""

COLOURS = 7
DASHES = ("", "7 4", "2 3")


class Curve(NamedTuple):
    """A run's training loss: (step, mean loss), by rising step."""

    label: str
    points: tuple[tuple[float, float], ...]


def read(path: Path, label: str) -> Curve | None:
    """The curve in a metrics.jsonl, thinned; None where there is none to be read. A cut last line is passed over."""
    if not may_show(path):
        return None
    found: dict[int, float] = {}
    for line in read_text(path, errors="replace").splitlines():
        try:
            entry = json.loads(line)
            step, loss = int(entry["step"]), float(entry["loss"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if math.isfinite(loss) and loss > 0 and 0 <= step <= LARGEST:
            found[step] = loss
    steps = sorted(found)
    if len(steps) < 2:
        return None
    size = math.ceil(len(steps) / POINTS)
    stretches = [steps[start : start + size] for start in range(0, len(steps), size)]
    return Curve(label, tuple((fmean(part), fmean(found[step] for step in part)) for part in stretches))


def describe(curves: Sequence[Curve]) -> str:
    """What the drawing shows, in words."""
    ends = "; ".join(f"{c.label}: {c.points[0][1]:.3g} to {c.points[-1][1]:.3g}" for c in curves)
    return f"Training loss over steps, logarithmic. {ends}"


def draw(curves: Sequence[Curve]) -> str:
    """An SVG with a logarithmic loss axis and a legend below."""
    values = [loss for curve in curves for _, loss in curve.points]
    last = max(step for curve in curves for step, _ in curve.points)
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.05 * (high - low), 0.01)
    low, high = low - pad, high + pad

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(loss)) / (high - low)

    across = max(1, min(3, (WIDTH - LEFT) // (SAMPLE + LETTER * max(len(curve.label) for curve in curves))))
    height = HEIGHT + 20 * math.ceil(len(curves) / across)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(describe(curves))}" font-family="system-ui, sans-serif" font-size="12" '
        'fill="currentColor">'
    ]
    for tick in ticks(low, high):
        at = y(tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".2"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for step in even(0, last, 4):
        said = f"{step:,.10g}"
        at = min(x(step), WIDTH - LETTER * len(said) / 2)  # the last would stand out at the right
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{said}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">training step</text>')
    middle = (HEIGHT + TOP - BOTTOM) / 2
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">loss (log scale)</text>'
    )
    for number, curve in enumerate(curves):
        path = "L".join(f"{x(step):.1f} {y(loss):.1f}" for step, loss in curve.points)
        look = _look(number)
        parts.append(f'<path d="M{path}" fill="none" stroke-width="1.8" {look}/>')
        left, top = LEFT + (WIDTH - LEFT) // across * (number % across), HEIGHT + 20 * (number // across) + 6
        parts.append(f'<path d="M{left} {top}h26" stroke-width="2.5" {look}/>')
        parts.append(f'<text x="{left + 32}" y="{top + 4}">{escape(curve.label)}</text>')
    return "".join(parts) + "</svg>"


def alone(svg: str) -> str:
    """The drawing as a file of its own, on white: its letters are black there, whatever page shows it."""
    start = svg.index(">") + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="#fff"/>{svg[start:]}'


def _look(number: int) -> str:
    fallback = ("#0072b2", "#d55e00", "#00805f", "#a0527f", "#8a6d00", "#2f7fb0", "#1b1b1b")[number % COLOURS]
    dash = DASHES[number % len(DASHES)]  # neighbours differ without colours too, on paper
    return f'stroke="var(--c{number % COLOURS}, {fallback})"' + (f' stroke-dasharray="{dash}"' if dash else "")


def ticks(low: float, high: float) -> list[float]:
    """Round values from 10^low to 10^high: decades with 2 and 5, else 3 and 7 too, else even steps; three or more."""
    for factors in ((1, 2, 5), (1, 2, 3, 5, 7)):
        found = [
            factor * 10.0**power
            for power in range(math.floor(low), math.ceil(high) + 1)
            for factor in factors
            if low <= math.log10(factor) + power <= high
        ]
        if len(found) >= 3:
            return found
    return even(10**low, 10**high, 2)


def even(first: float, last: float, least: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `first` to `last`, `least` steps apart or up to 2.5 as many."""
    rough = (last - first) / least
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (5, 2, 1) if factor * power <= rough or factor == 1)
    return [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]
