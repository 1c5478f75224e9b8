"""Tables 2 to 6 and the second edition's: print, what is computed, what is measured, and what disagrees."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs, paper
from hdit_repro.paper import Claim, Ledger, Unit
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import seal
from hdit_repro.render.definitions import TABLES
from hdit_repro.render.formats import csv as as_csv
from hdit_repro.render.settled import in_unit
from hdit_repro.render.tables import material, sheet_of


def read(paths: list[Path], kind: str) -> str:
    return next(path for path in paths if path.suffix == f".{kind}").read_text(encoding="utf-8")


def lines(paths: list[Path]) -> dict[str, dict[str, str]]:
    """The csv by label."""
    return {line["label"]: line for line in csv.DictReader(io.StringIO(read(paths, "csv")))}


def cells(text: str, label: str) -> list[str]:
    """The cells of a row of a markdown table."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip().replace("\\", "") for cell in row.split("|")[2:-1]]


def changed(claim_id: str, **values: object) -> Ledger:
    """The project's ledger with one claim changed."""

    def change(claim: Claim) -> Claim:
        return msgspec.structs.replace(claim, **values) if claim.id == claim_id else claim

    known = paper.read()
    known.claim(claim_id)
    return Ledger(tuple(change(claim) for claim in known), known.tables)


def test_a_run_of_three_tables_is_one_run(render, measure) -> None:
    """Table 1's E is Table 2's lerp, Table 5's soft-Min-SNR and the second edition's E: one record fills all four."""
    measure("table1/E", "paper", 27.5)
    for name in ("table1", "table2", "table5", "edition2-table5"):
        ours = {line["run"]: line["ours"] for line in lines(render("paper", [name])).values()}
        assert [run for run, value in ours.items() if value == "27.5"] == [
            {"table2": "table2/lerp", "table5": "table5/soft-min-snr"}.get(name, "table1/E")
        ]
        assert set(ours.values()) == {"27.5", "not run"}


def test_table_2_prints_and_subtracts(render, measure) -> None:
    measure("table2/add", "paper", 28.0)
    table = lines(render("paper", ["table2"]))
    add = next(line for line in table.values() if line["run"] == "table2/add")
    assert (add["fid_printed"], add["ours"], float(add["difference"])) == ("28.37", "28.0", pytest.approx(-0.37))
    assert [line["fid_printed"] for line in table.values()] == ["33.75", "28.37", "27.74"]


def test_other_methods_have_no_column_of_ours(render, measure) -> None:
    measure("ffhq1024", "paper", 5.0)
    shown = read(render("paper", ["table3"]), "md")
    assert cells(shown, "StyleGAN2 (Karras et al., 2020b)") == ["2.70", "–", ""]
    assert cells(shown, "HDiT-85M (Ours)") == ["5.23", "5.00", "−0.23"]
    assert cells(shown, "HDiT-85M (Ours, 5k samples)") == ["8.48", "not run", ""]


def test_table_3_names_the_reference_and_the_other_one(render) -> None:
    """From the jobs: what they say stands in the note, at paper scale."""
    whole, part = (jobs.find(name).run for name in ("ffhq1024", "alternatives/ffhq1024-50k-reference"))
    assert (whole.sampling_id, whole.evaluation_id != part.evaluation_id) == (part.sampling_id, True)
    for table in ("table3", "edition2-table3"):
        shown = read(render("paper", [table]), "md")
        assert "inception-2015 against all 70,000 images of ffhq at 1024²; print names none." in shown
        said = "`alternatives/ffhq1024-50k-reference`: inception-2015 against 50,000 of the 70,000 images of ffhq"
        assert said in shown
    assert "inception-2015" not in read(render("smoke", ["table3"]), "md")


def test_five_thousand_samples_are_measured_as_such(render, measure) -> None:
    measure("ffhq1024-5k", "paper", 8.0)
    paths = render("paper", ["table3"])
    assert cells(read(paths, "md"), "HDiT-85M (Ours, 5k samples)") == ["8.48", "8.00", "−0.48"]
    line = lines(paths)["HDiT-85M (Ours, 5k samples)"]
    assert (line["ours_metric"], line["ours_samples"]) == ("fid@5000", "5000")


def test_table_1_has_prints_columns_in_prints_order(roots: Roots) -> None:
    sheet = sheet_of(TABLES["table1"], material("paper", roots))
    printed = [head.upper for head in sheet.heads if head.own == "printed"]
    assert printed == ["FID", "GFLOP@128²", "Complexity", "GFLOP@256²", "GFLOP@512²"]
    assert "R1 is sampled in 250 DDPM steps with learned σ(t)" in sheet.notes[0]


@pytest.mark.parametrize(("scale", "rows"), [("paper", []), ("smoke", []), ("smoke", ["imagenet256"])])
def test_how_print_measured_is_said_whatever_was_measured(roots: Roots, measure, scale: str, rows: list[str]) -> None:
    for row in rows:
        measure(row, scale, 7.0)
    notes = sheet_of(TABLES["table4"], material(scale, roots)).notes
    (said,) = [note for note in notes if note.startswith("Print: ")]
    assert said.startswith("Print: FID and IS of 50,000 samples, without classifier-free guidance; ")


def test_what_others_published_is_not_called_ours(roots: Roots) -> None:
    """ADM's 250 steps are its own source's."""
    sheet = sheet_of(TABLES["table4"], material("paper", roots))
    steps = [number for number, head in enumerate(sheet.heads) if head.upper == "Steps"]
    assert [sheet.heads[number].own for number in steps] == ["printed", "computed"]


def test_table_4_computes_what_can_be_computed(render, measure) -> None:
    measure("imagenet256", "paper", 7.0, score=130.0)
    paths = render("paper", ["table4"])
    shown = read(paths, "md")
    hdit = lines(paths)["HDiT (Ours)"]
    assert int(hdit["images"]) == 2_000_000 * 256 + 50_000 * 512 + 100_000 * 1024 + 50_000 * 2048
    assert round(int(hdit["params"]) / 1e6) == 557
    assert (hdit["steps_printed"], hdit["steps"]) == ("50·2", "50")
    assert (hdit["is"], float(hdit["is_difference"])) == ("130.0", pytest.approx(-5.2))
    assert cells(shown, "HDiT (Ours)") == [
        "557M", "557.4M", "742M", "742.4M", "50·2", "50†", "6.92", "7.00", "+0.08", "135.2", "130.0", "−5.2",
    ]  # fmt: skip
    assert cells(shown, "DiT-XL/2 (Peebles & Xie, 2023a)")[:4] == ["675M", "674.8M", "1.8B", "1.79B"]
    assert cells(shown, "RIN (Jabri et al., 2023)")[:6] == ["410M", "–", "614M", "–", "1000", "–"]


def test_two_verdicts_of_a_row_say_which_number_each_is_on(render, measure) -> None:
    for seed in range(5):
        measure("imagenet256", "paper", 7.0 + seed / 10, score=130.0 + seed, seed=seed)
    shown = read(render("paper", ["table4"]), "md")
    assert "- Verdict (hdit, FID): " in shown
    assert "- Verdict (hdit, IS): " in shown


def test_table_4_marks_the_score_that_another_source_contradicts(render) -> None:
    shown = read(render("paper", ["table4"]), "md")
    assert cells(shown, "LDM-4 (Rombach et al., 2022)")[9] == "209.5†"
    assert "- † LDM-4, IS: 103.49, where print says 209.5 (FID 10.56 and IS 209.5 are not of one model" in shown
    assert shown.count("†") == 6


def test_table_6_sets_print_beside_the_job(render) -> None:
    shown = read(render("paper", ["table6"]), "md")
    assert cells(shown, "Parameters") == ["117M", "117.0M", "85M", "85.1M", "557M", "557.4M"]
    assert cells(shown, "GFLOP/forward") == ["31", "31.37", "206", "206.08", "198", "197.59"]
    assert cells(shown, "Mapping Width") == ["768", "768", "768", "256†", "768", "256†"]
    assert cells(shown, "Depth")[2:4] == ["[2, 2, 2, 2]", "[2, 2, 2, 2, 2]†"]
    assert cells(shown, "Training Hardware") == ["4 A100", "not run", "64 A100", "not run", "8 H100", "not run"]
    assert "- † Depth, FFHQ-1024²: " in shown
    assert "four depths cannot be given to five widths" in shown
    assert shown.count("†") == 6


def test_table_6_takes_hardware_and_time_from_records(render, measure) -> None:
    measure("table1/E", "paper", 27.0, seconds=14.5 * 3600)
    shown = read(render("paper", ["table6"]), "md")
    assert cells(shown, "Training Hardware")[:2] == ["4 A100", "cpu"]
    assert cells(shown, "Training Time")[:2] == ["15 hours", "14.5 hours"]


def test_table_6_has_the_hardware_of_the_training_and_not_of_the_measurement(render, measure) -> None:
    path = measure("table1/E", "paper", 27.0)
    record = store.read(path)
    for versions, shown in (
        ({"device while training": "NVIDIA H100", "processes while training": "8"}, "8 NVIDIA H100"),
        ({"device while training": "cpu (2 cores)", "processes while training": "2"}, "cpu (2 cores)"),
        ({"device while training": "NVIDIA H100"}, "NVIDIA H100"),
    ):
        made = msgspec.structs.replace(record.provenance, versions=versions)
        store.write(seal(msgspec.structs.replace(record, provenance=made)), path)
        assert cells(read(render("paper", ["table6"]), "md"), "Training Hardware")[1] == shown


def test_times_are_in_the_unit_that_print_has(render, measure) -> None:
    measure("ffhq1024", "paper", 5.0, seconds=4 * 86_400)
    measure("ffhq1024", "paper", 5.0, seed=1, seconds=7 * 86_400)
    paths = render("paper", ["table6"])
    assert cells(read(paths, "md"), "Training Time")[2:4] == ["5 days", "5.5 days"]
    line = lines(paths)["Training Time"]
    assert (line["ffhq_printed"], line["ffhq"]) == ("5", "5.5")


def test_a_mark_comes_from_the_computation_and_not_from_the_ledger(roots: Roots) -> None:
    """A print that is changed is marked though no erratum is expected; one that is mended loses its mark."""
    ledger = changed("table6/kernel/ablation", printed=9, text="9")
    sheet = sheet_of(TABLES["table6"], material("paper", roots, ledger))
    assert "† Neighborhood Kernel Size, ImageNet-128² (Ablation E): [7], where print says 9." in sheet.notes
    mended = changed("table1/R1/gflop-256", printed=658, text="658")
    sheet = sheet_of(TABLES["table1"], material("paper", roots, mended))
    assert not [note for note in sheet.notes if note.startswith("†")]


def test_growth_and_parameters_that_contradict_print_are_marked(roots: Roots) -> None:
    ledger = changed("table1/E/complexity", printed="O(n^2)", text="O(n^2)")
    sheet = sheet_of(TABLES["table1"], material("paper", roots, ledger))
    assert [row[7].text for row in sheet.rows[-2:]] == ["O(n)", "O(n)†"]
    assert "† E: O(n), and print says O(n²)." in sheet.notes
    ledger = changed("edition2-table6/p4-l/params", printed=558_000_000, text="558M")
    sheet = sheet_of(TABLES["edition2-table6"], material("paper", roots, ledger))
    assert [row[5].text for row in sheet.rows[-2:]] == ["301.8M", "557.4M†"]
    assert "† p4-l: 557.4M, and print says 558M." in sheet.notes


def test_the_job_is_what_table_6_shows(roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job file of the current folder with another mapping width changes the column and its mark."""
    text = (jobs.read("imagenet256").path).read_text(encoding="utf-8")
    assert "width = 256, d_ff = 768" in text
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "imagenet256.toml").write_text(
        text.replace("width = 256, d_ff = 768", "width = 512, d_ff = 1536"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    sheet = sheet_of(TABLES["table6"], material("paper", roots))
    row = next(row for row in sheet.rows if row[0].text == "Mapping Width")
    assert [cell.text for cell in row[1:]] == ["768", "768", "768", "256†", "768", "512†"]
    parameters = next(row for row in sheet.rows if row[0].text == "Parameters")
    assert parameters[6].text.endswith("†")


def test_the_sweep_is_counted_as_printed(render) -> None:
    paths = render("paper", ["edition2-table6"])
    table = lines(paths)
    assert len(table) == 9
    for line in table.values():
        assert round(int(line["parameters"]), -6) == int(line["params_printed"])
        assert round(int(line["macs"]) / 1e9) == int(line["gflop_printed"])
    assert "†" not in read(paths, "md")


def test_the_second_editions_rows_g_and_h(render, measure) -> None:
    measure("edition2/G", "paper", 28.0)
    shown = read(render("paper", ["edition2-table5"]), "md")
    assert cells(shown, "G E with AdaLN in place of AdaRMSNorm") == ["27.69", "28.00", "+0.31", "132.4M"]
    assert cells(shown, "H G with GELU and a DiT-style output gate")[:3] == ["30.66", "not run", ""]
    assert shown.startswith("# Table 5 of the second edition: ")


def test_relative_costs_of_the_second_edition(render) -> None:
    shown = read(render("paper", ["edition2-table1"]), "md")
    assert cells(shown, "E D + soft-min-snr") == ["−90%", "−90.2%", "−96%", "−96.9%†"]
    assert shown.count("\n- † ") == 3
    assert "Nothing has been measured" not in shown


@pytest.mark.parametrize("scale", ["mini", "smoke"])
def test_below_paper_scale_there_is_no_difference_and_no_hyper_parameter_table(
    scale: str, roots: Roots, measure
) -> None:
    measure("imagenet256", scale, 50.0)
    given = material(scale, roots)
    tables = [table for table in TABLES.values() if scale in table.scales]
    assert "table6" not in [table.name for table in tables]
    for table in tables:
        sheet = sheet_of(table, given)
        assert f", {scale} scale" in sheet.title
        assert not [head for head in sheet.heads if "difference" in head.key]
        printed = [head for head in sheet.heads if head.own == "printed"]
        assert all(head.upper.endswith("(paper scale)") for head in printed)


def test_a_row_of_ones_own_stands_behind_the_papers(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = jobs.read("table1").path.read_text(encoding="utf-8")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "table1.toml").write_text(
        f'{text}\n[row.mine]\nextends = "E"\nlabel = "E my way"\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    sheet = sheet_of(TABLES["table1"], material("paper", roots))
    label, printed, ours, *_ = sheet.rows[-1]
    assert (label.text, printed.text, ours.text) == ("mine E my way", "", "not run")
    assert len(sheet.rows) == 11


def test_units_are_written_with_a_digit_more_than_print() -> None:
    assert in_unit(557_416_522, Unit.PARAMETERS) == "557.4M"
    assert in_unit(1_792_000_000, Unit.IMAGES) == "1.79B"
    assert in_unit(2_200_000, Unit.STEPS) == "2.2M"
    assert in_unit(1_000_000, Unit.STEPS) == "1M"
    assert in_unit(400_000, Unit.STEPS) == "400,000"
    assert in_unit(31.369, Unit.GFLOP) == "31.37"
    assert in_unit(-96.875, Unit.PERCENT) == "−96.9%"
    assert in_unit(1e-8, Unit.CONSTANT) == "1e-08"
    assert in_unit("bfloat16", Unit.TEXT) == "bfloat16"


def test_every_mark_is_explained(roots: Roots) -> None:
    given = material("paper", roots)
    for table in TABLES.values():
        if "paper" in table.scales:
            sheet = sheet_of(table, given)
            marked = sum("†" in cell.text for row in sheet.rows for cell in row)
            assert marked == sum(note.startswith("† ") for note in sheet.notes), table.name


def test_all_csv_rows_are_full(roots: Roots) -> None:
    """Machine columns are numbers wherever a number is printed: no thousands, no units."""
    text = as_csv(sheet_of(TABLES["table4"], material("paper", roots)))
    for line in csv.DictReader(io.StringIO(text)):
        assert re.fullmatch(r"\d*", line["params_printed"])
        assert re.fullmatch(r"\d*(\.\d+)?", line["fid_printed"])


def test_what_verdicts_of_several_rows_share_is_said_once(roots: Roots, measure) -> None:
    for row, value in (("C", 28.2), ("D", 50.0), ("E", 28.5)):
        measure(f"table1/{row}", "paper", value)
    notes = sheet_of(TABLES["table1"], material("paper", roots)).notes
    apart, far, open_ = [note for note in notes if note.startswith("Verdict (")]
    assert apart.startswith("Verdict (C): not reproduced: ours is ")
    assert far.startswith("Verdict (D): not reproduced: ours is ")
    assert "margin" not in apart + far
    assert ", margin ±5 %, n = 1, noise 1.3 % (published); 29 more seeds: " in open_
    assert "Behind the verdicts on C, D: margin ±5 %, n = 1, noise 1.3 % (published)." in notes
