"""Figures: right numbers, every format, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hdit_repro import paper
from hdit_repro.errors import UserError
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.rows import index
from hdit_repro.render.figures import figure2, figure8, figure9, made_at, render_figures
from hdit_repro.render.figures.style import power_of_ten
from hdit_repro.spec.diffusion import MinSnr, Snr, SoftMinSnr


def test_every_figure_in_every_format_twice_the_same(tmp_path: Path) -> None:
    first, second = (render_figures(tmp_path / name, {}) for name in ("a", "b"))
    assert [path.name for path in first] == [
        f"{name}.{kind}" for name in made_at("paper") for kind in ("svg", "png", "pdf")
    ]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes(), left.name
        assert left.stat().st_size > 5_000


def test_figure_2_counts_the_printed_rows() -> None:
    hdit, dit = (dict(figure2.costs(run)) for run in ("table1/E", "table1/R1"))
    assert [round(hdit[side] / 1e9) for side in (128, 256, 512)] == [31, 65, 198]
    assert [round(dit[side] / 1e9) for side in (128, 256, 512)] == [106, 658, 6341]
    assert hdit[4096] < dit[4096] / 1000


def test_figure_2_has_adms_networks_at_their_own_sizes() -> None:
    adm = dict(figure2.adm_costs())
    assert list(adm) == [128, 256, 512]
    assert adm[256] > dict(figure2.costs("table1/E"))[256]
    assert [curve.label for curve in figure2.curves()] == ["DiT-B/4", "ADM's U-Net, as published", "HDiT-B/4"]


def test_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="figure2"):
        render_figures(tmp_path, {}, ["figure3"])
    assert not list(tmp_path.iterdir())


def test_loss_weights_by_hand() -> None:
    sigma = numpy.array([0.5, 1.0, 2.0])
    numpy.testing.assert_allclose(figure8.weight(Snr(), sigma), [4, 1, 0.25])
    numpy.testing.assert_allclose(figure8.weight(MinSnr(gamma=2), sigma), [2, 1, 0.25])
    numpy.testing.assert_allclose(figure8.weight(SoftMinSnr(gamma=4), sigma), [2, 0.8, 1 / 4.25])


def test_figure_9_prints_the_optimum_and_says_that_nothing_is_measured() -> None:
    ledger = paper.read()
    assert figure9.printed(ledger, figure9.OPTIMUM) == (1.3, 3.21, 220.6)
    assert figure9.printed(ledger, figure9.UNGUIDED) == (1.0, 6.92, 135.2)
    assert figure9.ours({}) == ([], 9)
    assert "ours: not measured (0 of 9 guidance weights)" in words(figure9.draw(figure9.curve(ledger, {})))


def test_figure_9_draws_what_is_measured(roots: Roots, measure) -> None:
    measure("guidance/w1.0", "paper", 7.0, score=130.0)
    measure("guidance/w1.3", "paper", 3.5, score=215.0)
    measure("guidance/w2.0", "smoke", 5.0, score=300.0)
    records = index(store.load(roots.results)[0])
    assert figure9.ours(records) == ([(1.0, 7.0, 130.0), (1.3, 3.5, 215.0)], 9)
    figure = figure9.draw(figure9.curve(paper.read(), records))
    (line,) = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("ours")]
    assert line.get_label() == "ours, 2 of 9 weights w"
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(130.0, 7.0), (215.0, 3.5)]
    assert not [text for text in words(figure) if "not measured" in text]


def test_figure_9_of_a_sweep_far_from_print_cuts_no_marker() -> None:
    """No Inception Score is negative, and the printed points on the edge are whole."""
    points = (figure9.Point(1.0, 338.0, 13.0), figure9.Point(1.3, 303.0, 21.0))
    (axes,) = figure9.draw(figure9.curve(paper.read(), {})._replace(points=points)).axes
    assert axes.get_xlim()[0] == 0
    printed = [line for line in axes.lines if str(line.get_label()).startswith("printed")]
    assert [line.get_clip_on() for line in printed] == [False, False]


def test_figure_9_writes_weights_on_the_outer_side_of_the_lowest_fid() -> None:
    points = [figure9.Point(1.0, 7.0, 130.0), figure9.Point(1.3, 3.5, 215.0), figure9.Point(2.0, 9.0, 300.0)]
    figure = figure9.draw(figure9.curve(paper.read(), {})._replace(points=tuple(points)))
    written = [(text.get_text(), text.xy, text.xyann) for text in figure.axes[0].texts]
    assert written == [
        ("1", (130.0, 7.0), (-12, -9)), ("1.3", (215.0, 3.5), (0, -16)), ("2", (300.0, 9.0), (12, -9)),
    ]  # fmt: skip


def test_powers_of_ten_are_letters() -> None:
    assert [power_of_ten(value) for value in (1e-4, 1, 10, 1e12)] == ["10⁻⁴", "10⁰", "10¹", "10¹²"]
    figure = figure8.draw(figure8.CURVES)
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"10⁻⁴", "10⁰", "10²"} <= set(ticks)


def test_all_formats_show_one_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure is laid out once, and not for each file."""
    laid_out: list[int] = []
    execute = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda self, figure: laid_out.append(1) or execute(self, figure)
    )
    render_figures(tmp_path, {}, ["figure9"])
    assert len(laid_out) == 1


def words(figure: Figure) -> list[str]:
    """All free-standing texts of a figure's axes."""
    return [text.get_text() for text in figure.axes[0].texts]
