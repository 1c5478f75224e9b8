"""What there is and what it costs: list, show, cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from hdit_repro import cost, jobs
from hdit_repro.files import shipped
from hdit_repro.spec.run import Run

Command = Callable[[str], Any]


def test_list_has_every_row(command: Command) -> None:
    rows = command("list --json").json
    assert [row["run"] for row in rows] == [job.name for job in jobs.all_jobs()]
    assert {"label", "parameters", "macs", "experiment"} <= rows[0].keys()
    said = command("list")
    assert "table1/E" in said.out
    assert "117M" in said.out
    assert len(said.out.splitlines()) == len(rows) + 1


@pytest.mark.parametrize("line", ["cluster list", "cluster list --json"])
def test_profiles_that_are_not_understood_are_left_out_with_the_reason(
    line: str, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "jobs" / "clusters"
    folder.mkdir(parents=True)
    whole = command(line)
    (folder / "cut.toml").write_text("[environment\n")
    said = command(line)
    assert (said.code, said.out) == (0, whole.out)
    assert said.err.count("left out: ") == 1
    assert str(folder / "cut.toml") in said.err


def test_what_is_no_file_of_a_persons_is_neither_experiment_nor_profile(command: Command, tmp_path: Path) -> None:
    """An editor's lock is a link that leads nowhere; another system keeps notes of files beside them."""
    for folder, line in ((tmp_path / "jobs", "list"), (tmp_path / "jobs" / "clusters", "cluster list")):
        folder.mkdir(exist_ok=True)
        whole = command(line)
        (folder / ".#mine.toml").symlink_to("me@host.7:1")
        (folder / "._mine.toml").write_bytes(b"\0\5\x16\7")
        (folder / "old.toml").mkdir()
        assert command(line) == whole


@pytest.mark.parametrize("line", ["list", "list --json", "cost", "cost --json"])
def test_rows_that_cannot_be_are_left_out_with_the_reason(line: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    whole = command(line)
    rows = '[row.bad]\nextends = "table1/E"\nmodel = { depthz = [2, 11] }\n[row.good]\nextends = "table1/E"\n'
    (tmp_path / "jobs" / "mine.toml").write_text(f'experiment = "mine"\n{rows}')
    (tmp_path / "jobs" / "cut.toml").write_text("[row.x\n")
    said = command(line)
    assert (whole.code, said.code) == (0, 0)
    assert "left out" not in whole.err
    assert "mine/good" in said.out
    assert "mine/bad" not in said.out
    assert said.err.count("left out: ") == 2
    assert "did you mean 'depths'?" in said.err
    assert "cut.toml" in said.err


def test_show_gives_the_spec_and_the_source_of_each_value(command: Command) -> None:
    plain = command("show table1/E --json").json
    assert msgspec.convert(plain, Run) == jobs.find("table1/E").run
    said = command("show table1/E")
    lines = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert "Table 6" in lines["model.widths"]
    assert "[384, 768]" in lines["model.widths"]
    assert "fork: k_diffusion/config.py" in lines["model.mapping.d_ff"]
    assert "inferred: " in lines["sampling.guidance"]
    assert "[neighborhood(kernel = 7), global]" in lines["model.attention"]
    assert "117,003,805" in said.out
    assert jobs.find("table1/E").run.id in said.out
    assert "inferred" in said.err
    assert lines["sampling.sigma_max"].split(maxsplit=2)[1:] == [
        "160.0",
        "fork: configs/ablations/*.jsonc; Table 6's range is that of training",
    ]
    assert "marked fork, after the third author's configurations, github.com/Birch-san/k-diffusion" in " ".join(
        said.err.split()
    )
    assert "fork" not in command("show table1/R1").err
    assert command("show table1/E --scale smoke --json").json["data"]["resolution"] == 16


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_every_run_can_be_shown(scale: str, command: Command) -> None:
    for job in jobs.all_jobs():
        said = command(f"show {job.name} --scale {scale}")
        assert said.code == 0, said.err
        assert "training.batch" in said.out
    assert "(steps = 50000, batch = 512)" in command("show imagenet256").out


def test_show_says_what_is_to_be_met_at_what_price(command: Command) -> None:
    said = command("show table1/E").out
    assert "printed        27.74 (Table 1, E, FID); 27.74 (Table 5 of the second edition, E, FID)" in said
    assert "price          about 61 A100-hours or about 32 H100-hours" in said
    assert "command        hdit-repro submit table1/E --cluster a100" in said
    assert "5.23 (Table 3, " in command("show ffhq1024").out
    assert "\nprinted " not in command("show alternatives/A-dot").out
    assert "\nprice " not in command("show table1/E --scale smoke").out


def test_the_number_in_print_is_of_the_row_in_print(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    text = (shipped("jobs") / "table1.toml").read_text()
    (tmp_path / "jobs" / "table1.toml").write_text(text.replace("depths = [2, 11]", "depths = [2, 12]"))
    assert "\nprinted " not in command("show table1/E").out
    assert "\nprinted        42.03 (" in command("show table1/R1").out


def test_show_takes_images_of_ones_own(command: Command, tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (128, 128), (number, 0, 0)).save(tmp_path / f"{number}.png")
    said = command(f"show table1/E --data {tmp_path}")
    assert said.code == 0, said.err
    assert "\nprinted " not in said.out
    assert f"submit table1/E --cluster a100 --data {tmp_path}" in said.out
    assert {line.split()[-1] for line in said.out.splitlines() if line.startswith("data.dataset")} == {"--data"}
    assert command(f"show table1/E --data {tmp_path} --json").json["data"]["dataset"]["name"] == tmp_path.name


def test_cost_json_has_the_agreed_shape(command: Command) -> None:
    rows = command("cost --json").json
    assert all(row.keys() == {"run", "resolution", "macs", "flops", "parameters", "parts"} for row in rows)
    table_1 = [(row["run"], row["resolution"]) for row in rows if row["run"].startswith("table1/")]
    assert sorted(table_1) == sorted(
        (f"table1/{row}", side) for row in jobs.read("table1").rows for side in (128, 256, 512)
    )
    assert len({(row["run"], row["resolution"]) for row in rows}) == len(rows)
    assert {row["run"] for row in rows} == {job.name for job in jobs.all_jobs()}
    for row in rows:
        assert row["flops"] == 2 * row["macs"]
        assert sum(part["macs"] for part in row["parts"].values()) == row["macs"]
        assert sum(part["parameters"] for part in row["parts"].values()) == row["parameters"]


def test_cost_of_one_row_follows_the_resolution(command: Command) -> None:
    (own,) = command("cost table1/E --json").json
    assert (own["resolution"], own["macs"], own["parameters"]) == (128, 31_369_003_008, 117_003_805)
    (larger,) = command("cost table1/E --resolution 256 --json").json
    assert round(larger["macs"] / 1e9) == 65
    run = jobs.find("table1/E").run
    assert larger["macs"] == cost.count(cost.at_resolution(run.model, 256), 256).macs
    said = command("cost table1/E")
    assert "31,369,003,008" in said.out
    assert "feed-forward" in said.out


def test_cost_below_a_rows_own_size_says_that_its_levels_are_not_chosen_for_it(command: Command) -> None:
    said = "levels as in the row: the innermost grid of"
    for line, grid in (("ffhq1024 --resolution 256", 4), ("imagenet256 --resolution 128", 8)):
        name = line.split()[0]
        words = f"{said} {name} is {grid} x {grid} tokens, not 16 x 16 as by Section 4.1"
        assert words in " ".join(command(f"cost {line}").err.split())
        assert words in " ".join(command(f"cost {line} --json").err.split())
    for line in ("ffhq1024", "ffhq1024 --resolution 2048", "table1/E --resolution 512", "table1/R3 --resolution 64"):
        assert said not in command(f"cost {line}").err, line
    assert said not in command("cost table1/R1 --resolution 64").err
    every = " ".join(command("cost --resolution 128").err.split())
    assert every.count(said) == 2  # of five levels and of three
    assert "8 x 8 tokens" in every
    assert "2 x 2 tokens" in every
