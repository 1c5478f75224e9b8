"""The guidance sweep below paper scale: its own metrics under their own names, and no other scale's."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.rows import index
from hdit_repro.records.schema import Metric
from hdit_repro.render.everything import render
from hdit_repro.render.figures import guidance
from hdit_repro.render.figures.guidance import Line, Point, Sweep
from hdit_repro.render.report.facts import gather
from hdit_repro.render.report.others import shown_figures

Measure = Callable[..., Path]
WEIGHTS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0)
DISTANCE, PRECISION, RECALL = (f"{name}-efficientnet-lite0" for name in ("fd", "precision", "recall"))
KINDS = ("svg", "png", "pdf")


@pytest.fixture
def swept(measure: Measure) -> Callable[..., None]:
    """Records of the whole sweep, with precision and recall beside the distance."""

    def write(scale: str, offset: float = 0.0, *, weights: tuple[float, ...] = WEIGHTS, seed: int = 0) -> None:
        for weight in weights:
            value = 100 + offset + 10 * (weight - 1.4) ** 2
            path = measure(f"guidance/w{weight:.1f}", scale, value, seed=seed, floor=20.0)
            record = store.read(path)
            more = {
                DISTANCE: Metric(value=value, low=value - 2, high=value + 3, interval="made up"),
                PRECISION: Metric(value=weight / 4),
                RECALL: Metric(value=0.6 - weight / 4, low=0.0, high=1.0, interval="made otherwise"),
            }
            store.write(msgspec.structs.replace(record, metrics={**record.metrics, **more}), path)

    return write


def sweep(roots: Roots, scale: str) -> guidance.Sweep:
    return guidance.sweep(index(store.load(roots.records(scale))[0]), scale)


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_all_weights_of_one_scale_by_rising_weight(roots: Roots, swept, scale: str) -> None:
    swept(scale)
    swept("paper", offset=-70.0) if scale == "mini" else swept("mini", offset=50.0)
    found = sweep(roots, scale)
    assert found.distance.metric == DISTANCE
    assert [point.guidance for point in found.distance.points] == list(WEIGHTS) == list(found.weights)
    assert found.distance.points[0] == Point(1.0, pytest.approx(101.6), pytest.approx(99.6), pytest.approx(104.6))
    assert [line.metric for line in found.sides] == [PRECISION, RECALL]
    assert [point.mean for point in found.sides[0].points] == [weight / 4 for weight in WEIGHTS]
    assert (found.floor, found.distance.bars) == (20.0, "made up")
    assert [line.bars for line in found.sides] == ["", "made otherwise"]
    assert found.samples == jobs.find("guidance/w1.0", scale).run.sampling.count


def test_several_trainings_have_their_deviation_for_a_bar(roots: Roots, swept) -> None:
    swept("smoke")
    swept("smoke", offset=2.0, seed=1, weights=(1.0, 2.0))
    first, second, *_ = sweep(roots, "smoke").distance.points
    assert first == Point(1.0, pytest.approx(102.6), pytest.approx(102.6 - 2**0.5), pytest.approx(102.6 + 2**0.5))
    assert second.high - second.low == pytest.approx(5)
    assert sweep(roots, "smoke").distance.bars == "standard deviation of 2 trainings; made up"


def test_axes_are_named_after_metric_and_scale(roots: Roots, swept) -> None:
    swept("smoke", weights=(1.0, 1.3, 2.0))
    figure = guidance.draw(sweep(roots, "smoke"))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == [
        f"{DISTANCE}\nsmoke (lower is better)", f"{PRECISION}\nsmoke (higher is better)",
        f"{RECALL}\nsmoke (higher is better)",
    ]  # fmt: skip
    (line, *_) = figure.axes[0].lines
    assert list(line.get_xdata()) == [1.0, 1.3, 2.0]
    (said,) = [text.get_text() for text in figure.axes[0].texts]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["bars: made up", "", "bars: made otherwise"]
    assert said == "measured (3 of 9 guidance weights). floor, as many real images: 20"
    words = " ".join([*labels, said, figure.get_suptitle(), figure.axes[-1].get_xlabel()]).lower()
    assert "fid" not in words
    assert "inception" not in words
    assert "smoke scale" in words


def test_bars_reach_from_low_to_high() -> None:
    points = (Point(1.0, 90.0, 88.0, 95.0), Point(2.0, 80.0, 78.0, 82.0))
    (axes,) = guidance.draw(Sweep("smoke", Line(DISTANCE, points, "made up"), (), None, 64, WEIGHTS)).axes
    ((_, _, (bars,)),) = axes.containers
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[88.0, 95.0], [78.0, 82.0]]


def test_what_bars_are_fits_the_width_of_a_panel() -> None:
    said = "standard deviation of 3 trainings; 95 %, jackknife over 20 groups of samples, reference held fixed"
    points = (Point(1.0, 90.0, 88.0, 92.0), Point(2.0, 80.0, 78.0, 82.0))
    figure = guidance.draw(Sweep("smoke", Line(DISTANCE, points, said), (), None, 64, WEIGHTS))
    (axes,) = figure.axes
    title = axes.get_title(loc="left")
    assert title.split() == f"bars: {said}".split()
    FigureCanvasAgg(figure).draw()
    assert axes._left_title.get_window_extent().x1 <= figure.bbox.x1


def test_a_distance_alone_has_one_panel(roots: Roots, measure) -> None:
    measure("guidance/w1.0", "smoke", 90.0)
    found = sweep(roots, "smoke")
    assert (found.sides, found.distance.bars, found.floor) == ((), "", None)
    assert len(guidance.draw(found).axes) == 1


def test_it_is_rendered_where_there_is_something_to_show(roots: Roots, swept, tmp_path: Path) -> None:
    def names(**given) -> list[str]:
        return [item.path.name for item in render("smoke", roots, tmp_path / "out", **given) if item.kind == "figure"]

    assert names() == []
    assert names(names=["guidance"]) == [f"guidance.{kind}" for kind in KINDS]  # asked for: it says that there is none
    swept("smoke")
    assert names() == [f"guidance.{kind}" for kind in KINDS]
    with Image.open(tmp_path / "out" / "guidance.png") as picture:
        assert len(picture.convert("L").getcolors() or []) > 2
    with pytest.raises(UserError, match="guidance is not made at paper scale"):
        render("paper", roots, tmp_path / "paper", names=["guidance"])


def test_figure_9_refused_names_this_one(roots: Roots) -> None:
    with pytest.raises(UserError, match="figure9 is not made at smoke scale") as refused:
        render("smoke", roots, names=["figure9"])
    assert refused.value.fix == "hdit-repro render-tables --scale smoke --tables guidance"


def test_the_table_has_a_row_a_weight(roots: Roots, swept, render: Callable[..., list[Path]]) -> None:
    swept("smoke")
    swept("mini", offset=-90.0)
    paths = {path.suffix: path for path in render("smoke", ("guidance",))}
    shown = paths[".md"].read_text(encoding="utf-8")
    assert shown.startswith("# Guidance sweep, smoke scale\n")
    assert shown.count("Ours (w1.0, w1.1") == 1  # one protocol but for the weight, which has a column
    assert "guidance w, quantised" in shown
    assert "What is printed" not in shown
    assert f": {DISTANCE}: made up; {RECALL}: made otherwise." in shown
    with paths[".csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["guidance"]) for row in rows] == list(WEIGHTS)
    assert {row["ours_metric"] for row in rows} == {DISTANCE}
    assert [float(row["recall"]) for row in rows] == [pytest.approx(0.6 - weight / 4) for weight in WEIGHTS]
    assert min(float(row["ours"]) for row in rows) == pytest.approx(100.0)


def test_the_report_shows_it_where_it_is_measured(roots: Roots, measure) -> None:
    assert "guidance" not in shown_figures(gather("smoke", roots))
    measure("guidance/w1.3", "smoke", 90.0)
    assert "guidance" in shown_figures(gather("smoke", roots))
    assert "guidance" not in shown_figures(gather("paper", roots))
