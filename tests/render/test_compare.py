"""Two rows side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.audit.orders import PAIRS
from hdit_repro.audit.summary import Measured
from hdit_repro.cli import main
from hdit_repro.errors import UserError
from hdit_repro.files import write_text
from hdit_repro.records.layout import Roots
from hdit_repro.render.compare import compare, number, said, write_page
from hdit_repro.render.measured import in_words

Measure = Callable[..., Path]


def test_what_differs_and_by_how_much(roots: Roots, measure: Measure) -> None:
    for seed in range(PAIRS):
        measure("table1/D", "smoke", 200.0 + seed % 2, seed=seed)
        measure("table1/E", "smoke", 180.0 + seed % 3, seed=seed)
    found = compare("table1/D", "table1/E", "smoke", roots)
    assert {change.field for change in found.changes} == {"diffusion.weighting.kind", "diffusion.weighting.gamma"}
    contrast = next(one for one in found.contrasts if one.metric == "fd-efficientnet-lite0")
    assert contrast.test == "paired by seed"
    assert not contrast.otherwise
    assert contrast.difference is not None
    low, high = contrast.difference.interval()
    assert 0.05 < low < contrast.difference.log < high < 0.15
    row = found.as_row()
    assert row["metrics"][0]["one"]["n"] == PAIRS
    assert row["metrics"][0]["p"] < 0.01


def test_one_record_a_side_below_paper_scale_has_no_interval(roots: Roots, measure: Measure) -> None:
    measure("table1/D", "smoke", 200.0)
    measure("table1/E", "smoke", 180.0)
    contrast = compare("table1/D", "table1/E", "smoke", roots).contrasts[0]
    assert "noise unknown (nothing is published for this scale: 4 degrees of freedom" in contrast.words()
    assert "`--seeds 2`" in contrast.words(), "what would tell luck"
    assert "interval" not in contrast.words()


def test_numbers_show_three_digits_however_small() -> None:
    found = Measured("kid", 0.00123, 0.00034, 3, None, ())
    assert number(found) == "0.00123 ± 0.00034 (n = 3)"
    assert number(found._replace(mean=-0.0000456, sd=None)) == "-0.0000456"
    assert number(found._replace(mean=12.5, sd=0.2)) == "12.50 ± 0.20 (n = 3)"
    assert number(found._replace(mean=0.0, sd=None)) == "0.00"


def test_a_scatter_below_the_digits_is_not_none() -> None:
    assert number(Measured("fid", 12.5, 0.001, 3, None, ())) == "12.50 ± <0.01 (n = 3)"
    assert in_words(Measured("recall", 1.0, 0.0, 3, None, ())).startswith("recall: 1 without a difference over 3 ")
    assert in_words(Measured("fd", 812.5, 120.4, 3, None, ())).startswith("fd: 812.5 ± 120 over 3 ")


def test_each_side_has_the_noise_of_its_own_data(roots: Roots, measure: Measure) -> None:
    """Of ImageNet-128² trainings were repeated here, of ImageNet-256² none was."""
    for seed in range(5):
        measure("table1/E", "paper", 27.0 * (1 + seed / 10), seed=seed)
    measure("imagenet256", "paper", 6.9)
    for pair in (("table1/E", "imagenet256"), ("imagenet256", "table1/E")):
        contrast = compare(*pair, "paper", roots).contrasts[0]
        assert "(pooled over 5 trainings of 1 row, 4 degrees of freedom)" in contrast.test
        assert "1.3 % (published)" in contrast.test
        assert contrast.difference is not None
        assert contrast.difference.dof == pytest.approx(4, rel=0.1)


def test_rows_that_are_drawn_from_one_network_are_said_to_be(roots: Roots, measure: Measure) -> None:
    measure("imagenet256", "paper", 6.9)
    measure("guidance/w1.3", "paper", 3.2)
    contrast = compare("imagenet256", "guidance/w1.3", "paper", roots).contrasts[0]
    assert contrast.words().endswith("the same networks, whose luck the interval counts as that of two")
    assert contrast.as_row()["same_trainings"]


def test_a_page_with_both(roots: Roots, measure: Measure, tmp_path: Path) -> None:
    measure("table1/D", "paper", 41.0)
    measure("table1/E", "paper", 27.0)
    page = write_page(compare("table1/D", "table1/E", "paper", roots), roots, tmp_path / "page")
    text = page.read_text(encoding="utf-8")
    assert "table1/D against table1/E" in text
    assert "95\u00a0% interval" in text
    assert (tmp_path / "page" / "style.css").is_file()


def test_losses_of_two_kinds_are_not_set_on_one_scale_without_a_word(
    roots: Roots, measure: Measure, remains: Callable[..., None], tmp_path: Path
) -> None:
    for name in ("table1/D", "table1/E", "table1/C"):
        measure(name, "smoke", 41.0)
        remains(roots, name, "smoke")
    pages = {
        one: write_page(compare(f"table1/{one}", "table1/D", "smoke", roots), roots, tmp_path / one).read_text(
            encoding="utf-8"
        )
        for one in "EC"
    }
    assert "Learning curves" in pages["C"]
    assert "different losses" not in pages["C"]
    assert "different losses" in pages["E"]
    assert "table1/E from table1/D" in pages["E"]
    alone = write_page(compare("table1/E", "table1/A", "smoke", roots), roots, tmp_path / "alone").read_text(
        encoding="utf-8"
    )
    assert "Learning curves" in alone
    assert "different losses" not in alone


def test_nothing_measured_still_compares_configurations(roots: Roots) -> None:
    found = compare("table1/A", "table1/B2", "paper", roots)
    assert found.contrasts == ()
    assert any(change.field.startswith("model.attention") for change in found.changes)
    with pytest.raises(UserError, match="did you mean"):
        compare("table1/A", "tabel1/B2", "paper", roots)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "table1/D", "table1/E", "--json"]) == 0
    assert '"diffusion.weighting.kind"' in capsys.readouterr().out
    assert main(["compare", "table1/D", "table1/Q"]) == 2


def test_one_run_under_two_names_is_no_other_than_itself(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "jobs" / "mine.toml", '[row.deep]\nextends = "table1/E"\nmodel = { depths = [2, 15] }\n')
    for seed in range(PAIRS):
        measure("table1/E", "smoke", 100.0 + seed, seed=seed)
    asked = ["compare", "mine/deep", "table1/E", "--scale", "smoke"]
    assert main([*asked, "--out", "page"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].endswith("  one run")
    assert "mine/deep and table1/E are one run at smoke scale\n" in said.err
    assert "smoke scale replaces model.depths" in said.err
    assert "The two are one run." in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert main([*asked, "--json"]) == 0
    (metric,) = json.loads(capsys.readouterr().out)["metrics"]
    assert (metric["percent"], metric["low"], metric["p"]) == (None, None, None)
    assert metric["one"] == metric["other"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        ([384, 768], "[384, 768]"),
        ("gelu", "gelu"),
        ([{"kind": "neighborhood", "kernel": 7}, {"kind": "global"}], "[neighborhood (kernel 7), global]"),
        ({"at": 3, "to": {"kind": "x"}}, "at 3, to x"),
    ],
)
def test_values_in_words(value: object, words: str) -> None:
    assert said(value) == words


def test_the_same_images_stand_side_by_side(
    roots: Roots, measure: Measure, remains: Callable[..., None], tmp_path: Path
) -> None:
    """Curves of both in one drawing, and the first grid of each."""
    for name in ("table1/D", "table1/E"):
        measure(name, "smoke", 180.0)
        remains(roots, name, "smoke")
    text = write_page(compare("table1/D", "table1/E", "smoke", roots), roots, tmp_path / "page").read_text(
        encoding="utf-8"
    )
    gallery = text.partition('<div class="gallery">')[2].partition("</div>")[0]
    assert re.findall(r'src="images/([\w-]+)\.png"', gallery) == ["table1-D", "table1-E"]
    assert {path.name for path in (tmp_path / "page" / "images").iterdir()} == {
        "loss.svg", "table1-D.png", "table1-E.png"
    }  # fmt: skip
    assert "table1/D seed 0" in text
    assert "The same place is the same image number" in text
