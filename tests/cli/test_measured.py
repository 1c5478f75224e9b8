"""Commands over records: every value of a row, and verdicts with their rule."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from hdit_repro import jobs
from hdit_repro.cli.app import main
from hdit_repro.data.places import describe
from hdit_repro.files import write_text
from hdit_repro.records import implied, schema, store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric, Protocol, Provenance, Reference, digest_of
from hdit_repro.spec.data import Folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(
    folder: Path,
    name: str,
    value: float,
    seed: int = 0,
    sampling_seed: int = 0,
    resize: str = "bicubic",
    dataset: Folder | None = None,
    dirty: bool = False,
) -> str:
    """A paper-scale record with a FID; returns its id."""
    job = jobs.find(name, dataset=dataset)
    run = job.run.repeated(seed, sampling_seed)
    record = schema.make(
        run, names=(job.name,), label=job.label, scale="paper",
        metrics={"fid": Metric(value=value)},
        protocol=Protocol(
            weights_digest="ab" * 32, resize=resize,
            reference=Reference(digest="cd" * 32, **implied.reference(run.evaluation.reference, run.data)),
            **implied.protocol(run),
        ),
        provenance=Provenance(
            commit="0" * 40, dirty=dirty, versions={}, device="none", host="none", seconds={}, gpu_hours=0.0,
            time="2030-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip
    store.write(record, RunFolder(Roots(folder / "runs", folder / "results"), run, "paper").record)
    return record.evaluation_id


def test_every_value_of_a_row(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [measure(workplace, "table1/E", 27.0), measure(workplace, "table1/E", 29.0, sampling_seed=1)]
    ids.append(measure(workplace, "table1/E", 30.0, seed=1))
    odd = measure(workplace, "table1/E", 99.0, seed=2, resize="bilinear")
    assert main(["results", "show", "table2/lerp"]) == 0
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines()] == [
        ["record", "seed", "sampling", "seed", "fid"],
        [ids[0], "0", "0", "27"],
        [ids[1], "0", "1", "29"],
        [ids[2], "1", "0", "30"],
    ]
    assert "fid: 29 ± 1.4 over 2 training seeds, 3 records; ± 1.4 between samplings of one network" in shown.err
    assert f"left out, since they are measured otherwise: {odd}" in shown.err


def test_every_value_as_json_has_its_protocol(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(workplace, "table1/E", 27.0)
    assert main(["results", "show", "table1/E", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["metric"], line["value"], line["seed"], line["extractor"]) == ("fid", 27.0, 0, "inception-2015")


def test_a_row_without_records_is_told_what_to_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(workplace, "table1/E", 27.0)
    assert main(["results", "show", "table1/D"]) == 2
    assert "hdit-repro submit table1 --rows D --cluster a100" in capsys.readouterr().err
    assert main(["results", "show", "table1/E", "--scale", "mini"]) == 2


def test_verify_prints_the_rules_of_its_verdicts(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--table", "2"]) == 0
    assert "verdicts on" not in capsys.readouterr().err
    measure(workplace, "table1/E", 27.74)
    measure(workplace, "table1/D", 60.0)
    assert main(["verify", "--table", "2"]) == 0
    said = capsys.readouterr().err
    assert "verdicts on printed numbers of 2 rows, each wherever it is printed: " in said
    assert "two one-sided tests" in said
    assert "verdicts on claims of order: 1 reproduced. " in said
    assert "Holm" in said


def test_verify_counts_rows_and_names_what_a_reader_should_doubt(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """E is printed in four tables, which are one measurement and not four."""
    measure(workplace, "table1/E", 27.74)
    measure(workplace, "table1/E", 27.74, seed=1)
    measure(workplace, "table1/D", 41.41, dirty=True)
    odd = measure(workplace, "table1/E", 90.0, seed=2, resize="bilinear")
    assert main(["verify"]) == 0
    said = capsys.readouterr().err
    assert "verdicts on printed numbers of 2 rows, each wherever it is printed: 7 reproduced. " in said
    assert "Each row stands by itself: of ten that are the same as print, one or more is called not reproduced" in said
    assert "1 record made by code with uncommitted changes, which no commit explains: table1/D" in said
    assert f"left out of table1/E: {odd}, measured otherwise than the row's other records (resize)" in said


def test_eval_prints_no_record_that_does_not_hold(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that was edited and resealed passes by its digest, and is checked as a whole before it is printed."""
    measure(workplace, "table1/E", 27.0)
    assert main(["eval", "--run", "table1/E", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metrics"]["fid"]["value"] == 27.0
    (path,) = (workplace / "results").rglob("*.json")
    plain = {**json.loads(path.read_text()), "seed": 5}
    path.write_text(json.dumps({**plain, "digest": digest_of(plain)}))
    assert main(["eval", "--run", "table1/E", "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "edited by hand" in shown.err


def test_a_row_without_records_names_files_that_are_none(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(workplace, "table1/E", 27.0)
    (path,) = (workplace / "results").rglob("*.json")
    path.write_text(path.read_text().replace("27.0", "2.0"))
    assert main(["results", "show", "table1/E"]) == 2
    assert "1 file there is no whole record (`hdit-repro results lint` says why)" in capsys.readouterr().err


def test_the_command_for_a_row_without_records_is_one_for_a_shell(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[row."much wider"]\nextends = "table1/E"\nsampling = { guidance = 1.5 }\n'
    write_text(workplace / "jobs" / "mine.toml", text)
    assert main(["results", "show", "mine/much wider"]) == 2
    assert "hdit-repro submit mine --rows 'much wider' --cluster a100" in capsys.readouterr().err


@pytest.fixture
def mine(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A few images of one's own under `mine`."""
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(workplace / "cache"))
    for number in range(3):
        (workplace / "mine" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 128), (number, 0, 0)).save(workplace / "mine" / "a" / f"{number}.png")
    return describe(workplace / "mine")


def test_numbers_on_other_images_are_named_and_reached(
    workplace: Path, mine: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = measure(workplace, "table1/E", 5.0, dataset=mine)
    measure(workplace, "table1/D", 6.0, dataset=mine)
    assert main(["results", "show", "table1/E"]) == 2
    assert "1 record on mine (--data PATH shows them)" in capsys.readouterr().err
    assert main(["results", "show", "table1/E", "--data", "mine"]) == 0
    shown = capsys.readouterr()
    assert theirs in shown.out
    assert "there are also" not in shown.err
    measure(workplace, "table1/E", 27.0)
    assert main(["results", "show", "table1/E"]) == 0
    shown = capsys.readouterr()
    assert theirs not in shown.out
    assert "there are also 1 record on mine" in shown.err
    assert main(["compare", "table1/D", "table1/E", "--data", "mine", "--json"]) == 0
    (metric,) = json.loads(capsys.readouterr().out)["metrics"]
    assert (metric["one"]["mean"], metric["other"]["mean"]) == (6.0, 5.0)


def test_records_of_a_row_as_it_was_before_are_told_from_those_of_the_row(
    workplace: Path, mine: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the row that asks for each now: names are those of the time when it was measured."""
    text = '[row.wide]\nextends = "table1/E"\nsampling = {{ guidance = {} }}\n'
    write_text(workplace / "jobs" / "own.toml", text.format(1.5))
    measure(workplace, "own/wide", 9.0)
    write_text(workplace / "jobs" / "own.toml", text.format(2.5))
    assert main(["results", "show", "own/wide"]) == 2
    assert "1 record of this row as it was before (in `hdit-repro results export`)" in capsys.readouterr().err
    measure(workplace, "own/wide", 7.0)
    measure(workplace, "table1/E", 5.0, dataset=mine)
    write_text(workplace / "jobs" / "later.toml", text.format(2.5))
    assert main(["results", "export", "all.csv"]) == 0
    assert "1 record is of a row that is not there any more as measured: the column rows" in capsys.readouterr().err
    with (workplace / "all.csv").open(newline="") as file:
        found = {line["value"]: (line["rows"], line["names"], line["dataset"]) for line in csv.DictReader(file)}
    on_mine = jobs.find("table1/E", dataset=mine).run
    of_e = " ".join(jobs.asking("paper", [on_mine])[on_mine.row_id])
    assert found == {
        "9.0": ("", "own/wide", "imagenet"),
        "7.0": ("later/wide own/wide", "own/wide", "imagenet"),
        "5.0": (of_e, "table1/E", "mine"),
    }
    assert "table5/soft-min-snr" in of_e.split()
    capsys.readouterr()
    assert main(["results", "show", "own/wide", "--json"]) == 0
    assert [line["rows"] for line in json.loads(capsys.readouterr().out)] == ["own/wide"]


def test_an_export_looks_for_the_run_on_those_images_and_leaves_nothing(
    workplace: Path, mine: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--run", "table1/E", "samples.foo"]) == 2
    assert "one of two formats" in capsys.readouterr().err
    assert main(["export", "--run", "table1/E", "samples.npz", "--data", "mine"]) == 1
    said = capsys.readouterr().err
    run = jobs.find("table1/E", dataset=mine).run
    assert str(Path(run.id) / "samples" / run.sampling_id) in said
    assert "hdit-repro sample --run table1/E --scale paper --data mine" in said
    assert not (workplace / "runs").exists()


def test_what_comes_first_is_named_with_the_images(
    workplace: Path, mine: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "--run", "table1/E", "--data", "mine"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "`hdit-repro train --run table1/E --data PATH`" in said
    assert "`hdit-repro submit table1/E --cluster a100 --data PATH`" in said
    assert main(["export-weights", "--run", "table1/E", "--to", "safetensors", "w.safetensors", "--data", "mine"]) == 2
    assert "hdit-repro train --run table1/E --scale paper --data PATH" in capsys.readouterr().err


def test_upgrading_passes_over_folders(workplace: Path) -> None:
    measure(workplace, "table1/E", 27.0)
    (workplace / "results" / "zz.json").mkdir()
    assert main(["results", "migrate"]) == 0


def test_commands_over_records_say_that_files_were_left_out(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(workplace, "table1/D", 27.0)
    measure(workplace, "table1/E", 29.0)
    for asked in (["compare", "table1/D", "table1/E"], ["results", "show", "table1/E"], ["power"]):
        assert main(asked) == 0
        assert "left out" not in capsys.readouterr().err
    (workplace / "results" / "broken.json").write_text("{", encoding="utf-8")
    for asked in (["compare", "table1/D", "table1/E", "--json"], ["results", "show", "table1/E"], ["power"]):
        assert main(asked) == 0
        assert "1 file among the records left out (`hdit-repro results lint` says why)" in capsys.readouterr().err


def test_power_names_each_noise_that_it_tells_from_with_its_data(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trainings repeated at 128² say nothing of those at 256²."""
    for seed in range(5):
        measure(workplace, "table1/E", 27.0 + seed, seed=seed)
    assert main(["power"]) == 0
    said = capsys.readouterr().err
    assert "noise of one training (imagenet at 128²): 5.5 % (pooled over 5 trainings of 1 row, 4" in said
    assert "noise of one training (imagenet at 256²): 1.3 % (published" in said
    assert main(["power", "table1"]) == 0
    assert "noise of one training: 5.5 % (pooled" in capsys.readouterr().err
