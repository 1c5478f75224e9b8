"""Figures: right numbers, every format, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from hdit_repro.errors import UserError
from hdit_repro.render.figures import FIGURES, figure2, figure8, render_figures
from hdit_repro.spec.base import kind_of, kinds
from hdit_repro.spec.diffusion import EdmWeight, MinSnr, Snr, SoftMinSnr, Weighting


def test_every_figure_in_every_format_twice_the_same(tmp_path: Path) -> None:
    first, second = (render_figures(tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png", "pdf")]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes(), left.name
        assert left.stat().st_size > 5_000


def test_figure_2_counts_the_printed_rows() -> None:
    hdit, dit = (dict(figure2.costs(run)) for run in ("table1/E", "table1/R1"))
    assert [round(hdit[side] / 1e9) for side in (128, 256, 512)] == [31, 65, 198]
    assert [round(dit[side] / 1e9) for side in (128, 256, 512)] == [106, 658, 6341]
    assert hdit[4096] < dit[4096] / 1000


def test_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="figure2"):
        render_figures(tmp_path, ["figure3"])
    assert not list(tmp_path.iterdir())


def test_loss_weights_by_hand() -> None:
    sigma = numpy.array([0.5, 1.0, 2.0])
    numpy.testing.assert_allclose(figure8.weight(Snr(), sigma), [4, 1, 0.25])
    numpy.testing.assert_allclose(figure8.weight(MinSnr(gamma=2), sigma), [2, 1, 0.25])
    numpy.testing.assert_allclose(figure8.weight(SoftMinSnr(gamma=4), sigma), [2, 0.8, 1 / 4.25])
    numpy.testing.assert_allclose(figure8.weight(EdmWeight(), sigma), [8, 5, 4.25])


def test_every_weighting_can_be_drawn() -> None:
    drawn = {kind_of(weighting) for weighting in (Snr(), MinSnr(), SoftMinSnr(), EdmWeight())}
    assert drawn == set(kinds(Weighting))
