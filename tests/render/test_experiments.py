"""The table of an experiment of one's own: rows, baselines, differences, and what must not stand there."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.cli import main
from hdit_repro.errors import UserError
from hdit_repro.records.layout import Roots
from hdit_repro.render.booktabs import latex
from hdit_repro.render.definitions import LETTERED, Table
from hdit_repro.render.everything import render, render_experiment
from hdit_repro.render.experiments import sheet_of_experiment
from hdit_repro.render.tables import material, sheet_of
from hdit_repro.spec.data import Folder
from tests.render.test_booktabs import A4, set_by_latex

MINE = """
title = "Table of widths"

[row.wide]
extends = "table1/E"
label = "E_% wide & deep #1"
sampling = { guidance = 1.5 }

[row.again]
extends = "wide"
sampling = { guidance = 2.0 }
"""
METRIC = "fd-efficientnet-lite0"


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a job file of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "results").mkdir()

    def write(name: str = "mine", text: str = MINE) -> None:
        (tmp_path / "jobs" / f"{name}.toml").write_text(text, encoding="utf-8")

    write()
    return write


def texts(roots: Roots, name: str = "mine", scale: str = "smoke") -> dict[str, str]:
    """The files by their endings."""
    return {item.path.suffix: item.path.read_text(encoding="utf-8") for item in render_experiment(name, scale, roots)}


def lines(found: dict[str, str]) -> dict[str, dict[str, str]]:
    return {line["run"]: line for line in csv.DictReader(io.StringIO(found[".csv"]))}


def test_rows_stand_in_the_files_order_without_any_run(roots: Roots, declare) -> None:
    found = texts(roots)
    table = lines(found)
    assert list(table) == ["mine/wide", "mine/again", "table1/E"]
    assert [line["extends"] for line in table.values()] == ["table1/E", "wide", ""]
    assert {line[METRIC] for line in table.values()} == {"not measured"}
    assert {int(line["parameters"]) for line in table.values()} == {419_485}
    assert "Nothing has been measured at smoke scale yet: `hdit-repro submit mine --scale smoke`." in found[".md"]
    assert "# Experiment mine: Table of widths, smoke scale\n" in found[".md"]
    assert "printed" not in "".join(found.values())
    assert r"E\_\% wide \& deep \#1" in found[".tex"]
    assert r"\caption{Experiment mine: Table of widths, smoke scale}" in found[".tex"]


def test_one_seed_has_its_own_interval_and_no_test(roots: Roots, declare, measure) -> None:
    measure("mine/wide", "smoke", 110.0, interval="jackknife")
    measure("table1/E", "smoke", 100.0)
    found = texts(roots)
    line = lines(found)["mine/wide"]
    assert (line[METRIC], line["seeds"], line[f"{METRIC}_low"]) == ("110.0", "1", "109.0")
    assert line["samples"] == line[f"{METRIC}_samples"] == "64"
    assert float(line[f"{METRIC}_change"]) == pytest.approx(10)
    assert (line[f"{METRIC}_change_low"], line[f"{METRIC}_change_p"]) == ("", "")
    assert f"Test (wide: {METRIC}): noise unknown (nothing is published for this scale" in found[".md"]
    assert "commit 0123456789ab" in found[".md"]
    assert lines(found)["mine/again"][METRIC] == "not measured"


def test_a_row_without_a_label_is_named_once(roots: Roots, declare) -> None:
    """With --data it was `wide wide, on pets`, and a baseline `more/deep deep`."""
    declare("more", '[row.deep]\nextends = "table1/E"\n')
    declare(text='[row.wide]\nextends = "more/deep"\n[row.named]\nextends = "wide"\nlabel = "wider"\n')
    pets = Folder(name="pets", digest="ab" * 32, images=1234, classes=3)
    for dataset, on in ((None, ""), (pets, ", on pets")):
        found = {item.path.suffix: item.path for item in render_experiment("mine", "smoke", roots, dataset=dataset)}
        labels = [
            line.split("|")[1].strip() for line in found[".md"].read_text().splitlines() if "not measured |" in line
        ]
        assert labels == [f"wide{on}", f"named wider{on}", f"more/deep{on}"]


def test_on_images_of_ones_own_it_has_a_table_besides(
    roots: Roots, declare, measure, capsys: pytest.CaptureFixture[str]
) -> None:
    pets = Folder(name="pets & co", digest="ab" * 32, images=1234, classes=3)
    measure("mine/wide", "smoke", 150.0)
    measure("mine/wide", "smoke", 110.0, dataset=pets)
    written = {item.path.suffix: item.path for item in render_experiment("mine", "smoke", roots, dataset=pets)}
    assert written[".md"].name == "experiment-mine-pets & co.md"
    found = {suffix: path.read_text(encoding="utf-8") for suffix, path in written.items()}
    assert lines(found)["mine/wide"][METRIC] == "110.0"
    assert "Numbers of different scales are not compared.\n" in found[".md"]
    assert lines(texts(roots))["mine/wide"][METRIC] == "150.0"
    assert "# Experiment mine on pets & co, 1,234 images: Table of widths, smoke scale\n" in found[".md"]
    assert "`hdit-repro submit table1 --rows E --scale smoke --data PATH`" in found[".md"]
    cats = Folder(name="cats", digest="cd" * 32, images=5, classes=3)
    empty = next(item.path for item in render_experiment("mine", "smoke", roots, dataset=cats))
    assert "`hdit-repro submit mine --scale smoke --data PATH`" in empty.with_suffix(".md").read_text(encoding="utf-8")
    shown = {item.path.stem for item in render("smoke", roots) if item.path.stem.startswith("experiment-")}
    assert shown == {"experiment-mine", "experiment-mine-pets & co"}
    assert main(["render-tables", "--scale", "smoke", "--data", "pets"]) == 2
    assert "hdit-repro render-tables table1 --scale smoke --data pets" in capsys.readouterr().err


def test_of_two_folders_of_one_name_the_last_measured_has_the_table(roots: Roots, declare, measure) -> None:
    old, new = (Folder(name="pets", digest=digest * 32, images=1234, classes=3) for digest in ("ab", "cd"))
    measure("mine/wide", "smoke", 120.0, dataset=new, year=2031)
    measure("mine/wide", "smoke", 110.0, dataset=old)
    measure("table1/E", "smoke", 100.0, dataset=new)
    written = {item.path.name: item.path for item in render("smoke", roots)}
    with written["experiment-mine-pets.csv"].open() as file:
        line = next(csv.DictReader(file))
    assert line[METRIC] == "120.0"
    assert float(line[f"{METRIC}_change"]) == pytest.approx(20)
    assert "experiment-table1-pets.md" in written


def test_several_seeds_have_a_spread_and_the_test_of_compare(
    roots: Roots, declare, measure, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(5):
        measure("mine/wide", "smoke", 110.0 + seed, seed=seed)
        measure("table1/E", "smoke", 100.0 + seed, seed=seed)
    found = texts(roots)
    line = lines(found)["mine/wide"]
    assert "112.00 ± 1.58 (n = 5)" in found[".md"]
    assert line["seeds"] == "5"
    assert main(["compare", "mine/wide", "table1/E", "--scale", "smoke", "--json"]) == 0
    shown = capsys.readouterr().out
    for name, field in (("percent", "change"), ("low", "change_low"), ("high", "change_high"), ("p", "change_p")):
        assert f'"{name}": {line[f"{METRIC}_{field}"]}' in shown
    assert "4 degrees of freedom); both are drawn from the same networks" in found[".md"]
    change = float(line[f"{METRIC}_change"])
    assert f"| +{change:.1f} % \\[" in re.sub(" +", " ", found[".md"])


def test_a_baseline_without_a_record_is_named_with_its_command(roots: Roots, declare, measure) -> None:
    measure("mine/wide", "smoke", 110.0)
    measure("table1/E", "mini", 100.0)
    found = texts(roots)
    assert lines(found)["table1/E"][METRIC] == "not measured"
    assert "from what it extends" not in found[".md"]
    assert "table1/E is not measured at smoke scale: `hdit-repro submit table1 --rows E --scale smoke`." in found[".md"]


def test_rows_of_ones_own_under_that_heading_are_no_baselines(roots: Roots, declare, measure) -> None:
    declare(text=MINE.replace("label =", 'group = "Baselines"\nlabel ='))
    measure("mine/again", "smoke", 110.0)
    found = texts(roots)[".md"]
    assert "**Baselines**" in found
    assert "wide is not measured" not in found
    assert "table1/E is not measured" in found


def test_two_protocols_are_not_set_against_each_other(roots: Roots, declare, measure) -> None:
    measure("mine/wide", "smoke", 110.0)
    odd = measure("mine/wide", "smoke", 90.0, seed=1, weights="ef" * 32).stem
    measure("mine/wide", "smoke", 111.0, seed=2)
    measure("table1/E", "smoke", 100.0, weights="ef" * 32)
    found = texts(roots)
    line = lines(found)["mine/wide"]
    assert (line[METRIC], line[f"{METRIC}_change"]) == ("110.5", "")
    assert f"Left out (wide): {odd}, measured otherwise" in found[".md"]
    assert f"Not set against each other (wide, table1/E): {METRIC} was measured otherwise" in found[".md"]
    assert r"\textbf" not in found[".tex"]


def test_a_row_that_a_scale_makes_the_run_that_it_extends_is_not_set_against_it(roots: Roots, declare, measure) -> None:
    declare(text='[row.deep]\nextends = "table1/E"\nmodel = { depths = [2, 15] }\n')
    for seed in range(2):
        for name in ("table1/E", "table1/D", "table1/C", "table1/A"):
            measure(name, "smoke", 100.0 + 3 * seed, seed=seed)
    found = texts(roots)
    line = lines(found)["mine/deep"]
    assert (line[METRIC], line[f"{METRIC}_change"]) == ("101.5", "")
    assert "- deep and table1/E are one run at smoke scale, and are not set against each other." in found[".md"]
    assert "Test (" not in found[".md"]
    assert "one run at paper scale" not in texts(roots, scale="paper")[".md"]


def test_numbers_of_unlike_sample_counts_are_not_set_against_each_other(roots: Roots, declare, measure) -> None:
    """Below paper scale a metric's name does not tell them apart."""
    (roots.results.parent / "jobs" / "scales.toml").write_text(
        '[smoke.row."mine/wide"]\nsampling = { count = 32 }\n', encoding="utf-8"
    )
    measure("mine/wide", "smoke", 110.0)
    measure("table1/E", "smoke", 100.0)
    found = texts(roots)
    assert lines(found)["mine/wide"][f"{METRIC}_change"] == ""
    assert "was measured otherwise (samples)" in found[".md"]
    assert r"\textbf" not in found[".tex"]


def test_scales_never_mix(roots: Roots, declare, measure) -> None:
    for scale, value in (("paper", 30.5), ("mini", 40.5), ("smoke", 50.5)):
        measure("mine/wide", scale, value)
    shown = {scale: texts(roots, scale=scale)[".csv"] for scale in ("paper", "mini", "smoke")}
    assert [[value for value in ("30.5", "40.5", "50.5") if value in text] for text in shown.values()] == [
        ["30.5"],
        ["40.5"],
        ["50.5"],
    ]
    assert "Print:" not in texts(roots, scale="paper")[".md"]


def test_a_record_that_contradicts_its_run_is_named_and_left_out(roots: Roots, declare, measure) -> None:
    path = measure("mine/wide", "smoke", 110.0)
    path.write_text(path.read_text(encoding="utf-8").replace('"cpu"', '"gpu"'), encoding="utf-8")
    found = texts(roots)
    assert lines(found)["mine/wide"][METRIC] == "not measured"
    assert f"Left out: {path.parent.name}/{path.name}: a record was edited by hand" in found[".md"]


def test_an_experiment_called_like_a_table_lies_beside_it(roots: Roots, declare, measure) -> None:
    declare("table3")
    measure("table3/wide", "paper", 30.0)
    written = [item.path for item in render("paper", roots, names=None, out=roots.runs / "out")]
    tables = sorted(path.name for path in written if "table3" in path.name and not path.name.startswith("edition2"))
    assert tables == [f"{name}.{form}" for name in ("experiment-table3", "table3") for form in ("csv", "md", "tex")]
    assert "experiment-scaling.md" not in {path.name for path in written}, "it has no record"


BAD = """
[row.bad]
extends = "table1/E"
model = { widths = [128, 384, 768] }

[row.after]
extends = "bad"
model = { widths = [48, 96], depths = [1, 2] }
"""


def test_nor_does_it_cost_the_others_of_a_declared_table_anything(roots: Roots, declare) -> None:
    declare(text=MINE + BAD)
    table = Table(name="widths", ledger="", columns=(LETTERED,), experiment="mine", notes=("Of widths.",))
    sheet = sheet_of(table, material("smoke", roots))
    assert [label.text for (label,) in sheet.rows] == ["wide E_% wide & deep #1", "again", "after"]
    assert sheet.notes[:2] == (
        "Of widths.",
        "mine/bad cannot be at smoke scale and is left out: `hdit-repro plan mine --rows bad --scale smoke` says why.",
    )


def test_a_row_that_cannot_be_is_named_and_costs_the_others_nothing(roots: Roots, declare, measure) -> None:
    declare(text=MINE + BAD)
    left_out = (
        "- mine/bad cannot be at smoke scale and is left out: `hdit-repro plan mine --rows bad --scale smoke` says why."
    )
    found = texts(roots)
    assert list(lines(found)) == ["mine/wide", "mine/again", "mine/after", "table1/E"]
    assert found[".md"].count(left_out) == 1
    assert "yet: `hdit-repro submit mine --rows wide,again,after --scale smoke`.\n" in found[".md"]
    measure("mine/wide", "smoke", 110.0)
    written = {item.path.name: item.path for item in render("smoke", roots)}
    assert left_out in written["experiment-mine.md"].read_text()
    declare("worse", BAD.replace("[row.after]", "[row.again]").partition("model = { widths = [48")[0])
    with pytest.raises(UserError, match="asks for what cannot be"):
        render_experiment("worse", "smoke", roots)


def test_a_file_that_is_not_understood_is_said(
    declare, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare("broken", "row.x = [")
    assert main(["render-tables", "--scale", "smoke"]) == 0
    assert "left out: a job file is no TOML" in capsys.readouterr().err
    assert main(["render-tables", "--scale", "smoke", "--tables", "table1"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("hdit_repro.render.report.write.render_figures", lambda *given: None)
    assert main(["report", "--scale", "smoke"]) == 0
    assert "left out: a job file is no TOML" in capsys.readouterr().err


def test_an_unknown_experiment_is_refused(roots: Roots, declare) -> None:
    with pytest.raises(UserError, match="did you mean 'mine'"):
        render_experiment("mien", "smoke", roots)


def test_the_command(declare, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render-tables", "mine", "--scale", "mini"]) == 0
    assert "tables/mini/experiment-mine.tex" in capsys.readouterr().out
    assert len(list((tmp_path / "tables" / "mini").iterdir())) == 3
    assert main(["render-tables", "mine", "--tables", "table1"]) == 2
    assert "one of the two" in capsys.readouterr().err


def test_a_name_beyond_a_line_is_set_in_several(roots: Roots, declare) -> None:
    long = "x" * 300
    declare("my table_#1", f'[row."{"y" * 150}"]\nextends = "table1/E"\nlabel = "{long} and_more"\ngroup = "{long}"\n')
    shown = latex(sheet_of_experiment("my table_#1", material("smoke", roots)))
    assert r"\label{tab:experiment-my-table--1-smoke}" in shown
    assert not re.search(r"[xy]{40}", shown)
    assert shown.count(r"\parbox[t]") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles_and_fits_a_page(roots: Roots, declare, measure, tmp_path: Path) -> None:
    long = "xm" * 150
    declare("my table_#1", f'[row.a]\nextends = "table1/E"\nlabel = "{long} $and_more~^"\ngroup = "{long}"\n')
    for seed in range(4):
        measure("mine/wide", "smoke", 110.0 + seed, seed=seed)
        measure("table1/E", "smoke", 100.0 + seed, seed=seed)
    given = material("smoke", roots)
    sheets = [sheet_of_experiment(name, given) for name in ("mine", "my table_#1")]
    said = set_by_latex({f"t{at}": latex(sheet) for at, sheet in enumerate(sheets)}, tmp_path)
    widths = [float(width) for width in re.findall(r"WIDTH \S+ ([\d.]+)pt", said)]
    assert len(widths) >= 2
    assert max(widths) < A4
    assert "Overfull" not in said
