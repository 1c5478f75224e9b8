"""A checkpoint that is not here any more: every command says what is missing, and what brings it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro import jobs
from hdit_repro.files import write_json
from hdit_repro.records.layout import Roots, RunFolder

Command = Callable[..., Any]


@pytest.fixture
def row(tmp_path: Path) -> Path:
    """The job file that an import left, without the checkpoint that it brought."""
    file = tmp_path / "jobs" / "big.toml"
    file.parent.mkdir()
    file.write_text(
        'experiment = "big"\ntitle = "Big"\n[row.big]\nextends = "table1/E"\n'
        f'training = {{ imported = "{"5" * 64}" }}\n'
    )
    return file


@pytest.mark.parametrize(
    "line",
    [
        "train --run big",
        "sample --run big",
        "eval --run big",
        "submit big --wait",
        "export-weights --run big --to k-diffusion big.safetensors",
    ],
)
def test_what_needs_it_says_what_train_says(command: Command, tmp_path: Path, row: Path, line: str) -> None:
    said = command(line)
    assert said.code == 2
    assert "weights were trained elsewhere, and they are not here" in said.err
    assert "5" * 64 in said.err
    fix = said.err.partition("  fix ")[2]
    assert "import --from k-diffusion" in fix
    assert "train" not in fix
    assert not (tmp_path / "runs").exists()


def test_a_plan_costs_nothing_of_it_and_says_why(command: Command, row: Path) -> None:
    said = command("plan big --cluster h100 --json")
    assert (said.code, said.err.count("warning: big cannot be run: its weights were trained elsewhere")) == (0, 1)
    train = said.json[0]
    assert (train["stage"], train["state"], train["gpus"], train["gpu_hours"]) == ("train", "missing", 0, 0.0)


def test_an_export_names_the_file_that_is_missing(command: Command, tmp_path: Path) -> None:
    """It named final.json, which was there."""
    run = jobs.find("table1/E").run
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), run, "paper")
    write_json(folder.final_marker, {"file": "step-00000007.safetensors", "run": run.training_id})
    said = command("export-weights --run table1/E --to k-diffusion e.safetensors")
    assert said.code == 2
    assert f"no {folder.checkpoints / 'step-00000007.safetensors'}, which final.json" in said.err
    assert "hdit-repro train --run table1/E --scale paper" in said.err.partition("fix")[2]
