"""Learning curves of a report: axes, labels, dashes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hdit_repro.render.report import curves

Measure = Callable[..., Path]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.24, 1.2, [0.3, 0.5, 0.7, 1]),
        (0.03, 0.4, [0.05, 0.1, 0.2]),
        (0.31, 0.45, [0.35, 0.4, 0.45]),
    ],
)
def test_a_loss_axis_has_three_values_or_more(low: float, high: float, said: list[float]) -> None:
    assert curves.ticks(math.log10(low), math.log10(high)) == pytest.approx(said)


def test_curves_differ_in_more_than_colour() -> None:
    """On grey paper too: neighbours in dashes, and 21 of them in colour and dashes together."""
    drawn = curves.draw([curves.Curve(f"seed {number}", ((0.0, 1.0), (10.0, 0.5))) for number in range(21)])
    looks = re.findall(r'fill="none" stroke-width="1.8" ([^/]*)/>', drawn)
    assert len(set(looks)) == len(looks) == 21
    dashes = [look.partition("dasharray")[2] for look in looks]
    assert all(one != other for one, other in pairwise(dashes))


@pytest.mark.parametrize(("label", "across"), [("seed 0", 3), ("table1/E seed 0", 3), ("a" * 24, 2), ("a" * 60, 1)])
def test_labels_of_curves_do_not_lie_over_each_other(label: str, across: int) -> None:
    drawn = curves.draw([curves.Curve(label, ((0.0, 1.0), (10.0, 0.5)))] * 6)
    places = [(int(x), int(y)) for x, y in re.findall(rf'<text x="(\d+)" y="(\d+)">{label}<', drawn)]
    assert len(places) == len(set(places)) == 6
    assert len({x for x, _ in places}) == across
    assert min([b - a for (a, _), (b, _) in pairwise(places[:across])], default=999) >= 7.5 * len(label) + 32
    height = int(drawn.partition(f'viewBox="0 0 {curves.WIDTH} ')[2].partition('"')[0])
    assert max(y for _, y in places) < height


def test_a_drawing_of_its_own_brings_its_ground() -> None:
    """Black letters on whatever page shows the file; in the report's page it takes that page's colours."""
    drawn = curves.draw([curves.Curve("a > b", ((0.0, 1.0), (10.0, 0.5)))])
    first, *others = ElementTree.fromstring(curves.alone(drawn))
    assert (first.tag.partition("}")[2], first.get("fill"), first.get("width")) == ("rect", "#fff", "100%")
    assert len(others) == len(ElementTree.fromstring(drawn))
    assert "<rect" not in drawn


def test_the_last_step_is_inside_the_drawing() -> None:
    drawn = curves.draw([curves.Curve("seed 0", ((0.0, 1.0), (400_000.0, 0.5)))])
    (end,) = re.findall(r'<text x="([\d.]+)" y="\d+" text-anchor="middle">400,000</text>', drawn)
    assert float(end) + curves.LETTER * len("400,000") / 2 <= curves.WIDTH
    assert re.search(r'<text x="485\.5" y="\d+" text-anchor="middle">300,000</text>', drawn)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (2395.0, ["0", "500", "1,000", "1,500", "2,000"]),
        (399.5, ["0", "50", "100", "150", "200", "250", "300", "350"]),
        (1_000_000.0, ["0", "200,000", "400,000", "600,000", "800,000", "1,000,000"]),
        (2.0, ["0", "0.5", "1", "1.5", "2"]),
    ],
)
def test_steps_under_a_curve_are_round(last: float, said: list[str]) -> None:
    drawn = curves.draw([curves.Curve("seed 0", ((0.0, 1.0), (last, 0.5)))])
    assert re.findall(rf'y="{curves.HEIGHT - curves.BOTTOM + 18}" text-anchor="middle">([^<]*)<', drawn) == said


def test_lines_that_are_none_of_a_training_are_passed_over(tmp_path: Path) -> None:
    huge = f"1{'0' * 400}"
    spoilt = [
        '{"step": Infinity, "loss": 1}',
        f'{{"step": {huge}, "loss": 1}}',
        f'{{"step": 3, "loss": {huge}}}',
        '{"step": -3, "loss": 1}',
        '{"step": 3, "loss": [1]}',
        '{"step": 3, "loss": NaN}',
        "[" * 100_000,
        "[]",
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(['{"step": 1, "loss": 2.0}', *spoilt, '{"step": 2, "loss": 1.0}']))
    assert curves.read(path, "a") == curves.Curve("a", ((1.0, 2.0), (2.0, 1.0)))
