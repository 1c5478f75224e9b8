"""Table 1 from synthetic records: what stands in it, what must not, and that it repeats to the byte."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Metric
from hdit_repro.render.columns import Column, Ours
from hdit_repro.render.definitions import LETTERED, Table
from hdit_repro.render.notes import _floor
from hdit_repro.render.tables import material, sheet_of, table_folder

ROWS = [job.row for job in jobs.load("table1")]


def lines(paths: list[Path], name: str = "table1.csv") -> dict[str, dict[str, str]]:
    """The csv by row name."""
    path = next(path for path in paths if path.name == name)
    read = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return {line["run"].removeprefix("table1/"): line for line in read}


def text(paths: list[Path], name: str) -> str:
    return next(path for path in paths if path.name == name).read_text(encoding="utf-8")


def test_all_rows_stand_in_the_table_without_any_run(roots: Roots, render) -> None:
    paths = render("paper")
    assert [path.name for path in paths] == ["table1.md", "table1.tex", "table1.csv"]
    table = lines(paths)
    assert list(table) == ROWS
    assert {line["ours"] for line in table.values()} == {"not run"}
    assert {line["difference"] for line in table.values()} == {""}
    assert text(paths, "table1.md").count("not run") == len(ROWS)
    assert text(paths, "table1.tex").count("not run") == len(ROWS)
    assert "Nothing has been measured at paper scale yet" in text(paths, "table1.md")


def test_costs_are_counted_from_the_paper_scale_at_every_scale(roots: Roots, render) -> None:
    tables = [lines(render(scale)) for scale in ("paper", "mini", "smoke")]
    keys = ["macs_128", "macs_256", "macs_512", "complexity", "parameters"]
    costs = [{row: [line[key] for key in keys] for row, line in table.items()} for table in tables]
    assert costs[0] == costs[1] == costs[2]
    giga = {row: [round(int(value) / 1e9) for value in values[:3]] for row, values in costs[0].items()}
    assert giga["E"] == [31, 65, 198]
    assert giga["A"] == [32, 114, 1060]
    assert giga["R1"] == [106, 658, 6341]
    assert round(int(costs[0]["E"][4]) / 1e5) / 10 == 117.0
    quadratic = {row for row, values in costs[0].items() if values[3] == "O(n^2)"}
    assert quadratic == {"R1", "R2", "R3", "R4", "A"}
    assert {values[3] for values in costs[0].values()} == {"O(n^2)", "O(n)"}


def test_a_count_that_contradicts_print_is_marked_and_no_other(roots: Roots, render) -> None:
    shown = text(render("paper"), "table1.md")
    assert "657.63†" in shown
    assert "- † R1 at 256²: 657.63 rounds to 658, and print says 656.\n" in shown
    assert shown.count("†") == 2


def test_scales_never_mix(roots: Roots, render, measure) -> None:
    """Mini and paper records lie in one folder; each table takes its own."""
    measure("table1/E", "paper", 30.125)
    measure("table1/D", "mini", 40.125)
    measure("table1/C", "smoke", 50.125)
    ours = {
        scale: {row: line["ours"] for row, line in lines(render(scale)).items()} for scale in ("paper", "mini", "smoke")
    }
    assert ours["paper"] == {**dict.fromkeys(ROWS, "not run"), "E": "30.125"}
    assert ours["mini"] == {**dict.fromkeys(ROWS, "not run"), "D": "40.125"}
    assert ours["smoke"] == {**dict.fromkeys(ROWS, "not run"), "C": "50.125"}


def test_difference_stands_at_paper_scale_only(roots: Roots, render, measure) -> None:
    measure("table1/E", "paper", 30.0)
    measure("table1/E", "smoke", 30.0)
    paper, smoke = (render(scale) for scale in ("paper", "smoke"))
    assert lines(paper)["E"]["difference"] == "-47.25"
    assert "FID: ours − printed" in text(paper, "table1.md")
    assert "−47.25" in text(paper, "table1.md")
    assert "Differences are ours less print." in text(paper, "table1.md")
    assert "difference" not in lines(smoke)["E"]
    assert "47.25" not in text(smoke, "table1.md")
    assert "no difference is shown" in text(smoke, "table1.md")


def test_tables_of_all_scales_go_into_one_document(roots: Roots, render) -> None:
    labels = [re.findall(r"\\label\{.*\}", text(render(scale), "table1.tex")) for scale in ("paper", "mini", "smoke")]
    assert labels == [[r"\label{tab:table1}"], [r"\label{tab:table1-mini}"], [r"\label{tab:table1-smoke}"]]


def test_headings_name_metric_and_scale(roots: Roots, render, measure) -> None:
    measure("table1/E", "smoke", 30.0)
    smoke = " ".join(text(render("smoke"), "table1.md").split())
    assert "| fd-efficientnet-lite0, smoke: ours |" in smoke
    assert "GFLOP@256² (paper scale): counted" in smoke
    assert "FID (paper scale): printed" in smoke
    assert "GFLOP in the paper means 10⁹ multiply-accumulates (MACs)" in smoke
    paper = text(render("paper"), "table1.md")
    assert "| FID: ours |" in " ".join(paper.split())
    assert "(paper scale)" not in paper


def test_seeds_are_summarised(roots: Roots, render, measure) -> None:
    for seed, value in enumerate((30.0, 31.0, 32.0)):
        measure("table1/E", "paper", value, seed=seed)
    paths = render("paper")
    line = lines(paths)["E"]
    assert (line["ours"], line["ours_sd"], line["ours_seeds"]) == ("31.0", "1.0", "3")
    assert "31.00 ± 1.00 (n = 3)" in text(paths, "table1.md")
    assert r"31.00 $\pm$ 1.00 (n = 3)" in text(paths, "table1.tex")
    assert "sample standard deviation" in text(paths, "table1.md")


def test_an_interval_is_explained_where_one_stands_and_nowhere_else(roots: Roots, render, measure) -> None:
    measure("table1/E", "paper", 30.0, interval="jackknife")
    for seed in range(2):
        measure("table1/R1", "paper", 60.0 + seed, seed=seed, interval="bootstrap")
    shown = text(render("paper"), "table1.md")
    assert "30.00 \\[29.00, 31.00\\]" in shown
    assert "- Intervals (E): jackknife." in shown
    assert "bootstrap" not in shown


def test_the_best_is_marked_among_numbers_of_one_protocol(roots: Roots, render, measure) -> None:
    for name, value in (("E", 30.0), ("D", 31.0), ("A", 40.0)):
        measure(f"table1/{name}", "paper", value)
    assert r"\textbf{30.00}" in text(render("paper"), "table1.tex")
    measure("table1/C", "paper", 20.0, weights="ef" * 32)
    shown = text(render("paper"), "table1.tex")
    assert "20.00" in shown
    assert r"\textbf" not in shown


def test_a_record_of_another_protocol_is_named_and_not_averaged(roots: Roots, render, measure) -> None:
    for seed in range(2):
        measure("table1/E", "paper", 30.0 + seed, seed=seed)
    odd = measure("table1/E", "paper", 90.0, seed=2, weights="ef" * 32).stem
    shown = text(render("paper"), "table1.md")
    assert "30.50 ± 0.71 (n = 2)" in shown
    assert f"- Left out (E): {odd}, measured otherwise than the row's other records (" in shown


def test_numbers_that_are_shown_alike_share_a_rank(roots: Roots, render, measure) -> None:
    for name, value in (("E", 30.001), ("D", 30.004), ("A", 40.0)):
        measure(f"table1/{name}", "paper", value)
    shown = text(render("paper"), "table1.tex")
    assert shown.count(r"\textbf{30.00}") == 2
    assert r"\underline{40.00}" in shown


def test_a_difference_that_rounds_to_nothing_has_no_sign(roots: Roots, render, measure) -> None:
    measure("table1/E", "paper", 77.2499)
    measure("table1/D", "paper", 77.2401)
    rows = {
        line.split("|")[1].strip()[:2]: line.split("|")
        for line in text(render("paper"), "table1.md").splitlines()
        if "|" in line
    }
    assert [rows[name][4].strip() for name in ("E ", "D ")] == ["0.00", "−0.01"]


def test_notes_name_protocol_floor_and_commit(roots: Roots, render, measure) -> None:
    measure("table1/E", "smoke", 30.0, floor=3.25)
    measure("table1/R1", "smoke", 60.0, floor=3.25)
    shown = text(render("smoke"), "table1.md")
    assert "Sampler (E): dpmpp\\_3m\\_sde, 50 steps, 50 network evaluations an image." in shown
    assert "Sampler (R1): ancestral, 250 steps" in shown
    count = jobs.find("table1/E", "smoke").run.sampling.count
    assert f"{count} samples of the ema weights" in shown
    assert "Floor (R1, E): fd-efficientnet-lite0 3.25, of as many real images." in shown
    assert "Measured at commit 0123456789ab with changes." in shown


def test_a_floor_is_told_beside_the_distance_that_it_is_of_and_no_other_metric(measure) -> None:
    record = store.read(measure("table1/E", "smoke", 30.0, floor=3.25))
    assert _floor(record) == "fd-efficientnet-lite0 3.25"
    assert _floor(msgspec.structs.replace(record, metrics={"kd-efficientnet-lite0": Metric(value=0.5)})) == ""


def test_a_heading_names_its_own_columns_metric(roots: Roots, measure) -> None:
    columns = (
        LETTERED,
        Column("a", "{metric}, {scale}", "fd", Ours()),
        Column("b", "{metric}, {scale}", "kd", Ours("kd-efficientnet-lite0", prefix="kd")),
    )
    table = Table(name="own", ledger="", columns=columns, experiment="table1", title="Own")
    heads = sheet_of(table, material("smoke", roots)).heads
    assert [head.upper for head in heads[1:]] == ["fd-efficientnet-lite0, smoke", "kd-efficientnet-lite0, smoke"]


def test_checks_show_what_training_did(roots: Roots, render, measure) -> None:
    measure("table1/E", "smoke", 30.0, untrained=120.0, floor=3.25, loss_end=0.25, loss_constant=1.0)
    measure("table1/D", "smoke", 60.0, untrained=120.0, floor=3.25, loss_end=1.25, loss_constant=1.0)
    shown = text(render("smoke", ["table1-checks"]), "table1-checks.md")
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line.startswith("|")]
    rows = {label.split()[0]: cells for label, *cells in table}
    assert rows["E"] == ["30.00", "120", "0.250", "3.25", "0.25", "1", "yes"]
    assert rows["D"] == ["60.00", "120", "0.500", "3.25", "1.25", "1", "no"]
    assert rows["C"] == ["not run", "not run", "", "not run", "not run", "not run", ""]


def test_damaged_records_are_named_and_left_out(roots: Roots, render, measure) -> None:
    measure("table1/E", "smoke", 30.0)
    path = measure("table1/D", "smoke", 40.0)
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    paths = render("smoke")
    assert lines(paths)["E"]["ours"] == "30.0"
    assert lines(paths)["D"]["ours"] == "not run"
    shown = text(paths, "table1.md")
    assert f"Left out: {path.parent.name}/{path.name}: a file is damaged" in shown
    assert str(roots.runs) not in shown


def test_same_records_same_bytes(roots: Roots, render, measure, tmp_path: Path) -> None:
    for seed, row in enumerate(ROWS):
        measure(f"table1/{row}", "smoke", 30.0 + seed, floor=3.0)
    first, second = (render("smoke", out=tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_folders(roots: Roots) -> None:
    base = roots.results.parent
    assert table_folder("paper", roots) == base / "tables"
    assert table_folder("mini", roots) == base / "tables" / "mini"
    assert table_folder("smoke", roots) == base / "runs" / "tables" / "smoke"


def test_an_unknown_table_is_refused(roots: Roots, render) -> None:
    with pytest.raises(UserError, match="did you mean 'table1'"):
        render("smoke", ["tabel1"])
    with pytest.raises(UserError, match="not made at paper scale"):
        render("paper", ["table1-checks"])
    assert not list(roots.results.parent.rglob("*.md"))


def test_an_unknown_scale_is_refused(roots: Roots, render) -> None:
    with pytest.raises(UserError, match="there is no scale called 'huge'"):
        render("huge")


def test_nothing_heavy_is_imported() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'submitit'}"
    code = f"import sys, hdit_repro.render.everything; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
