"""The script behind card.md's commands, with a made-up Python: what outlasts a call, and what comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES $*"
ls results
mkdir -p results/id runs/a/state runs/a/checkpoints runs/submissions/s
touch results/id/e.json runs/a/state/train.log runs/a/state/train.failure.json runs/a/metrics.jsonl
touch runs/a/checkpoints/final.safetensors runs/submissions/s/1_log.err
exit 75
"""


@pytest.fixture
def call(tmp_path: Path):
    """The script in a checkout of its own; the function calls it and gives what it said."""
    script = tmp_path / "here" / "benchmarks" / "card" / "run.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks" / "card" / "run.sh", script)
    python, out = tmp_path / "python", tmp_path / "out"
    python.write_text(PYTHON)
    python.chmod(0o755)
    out.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment |= {"PYTHON": str(python), "OUT": str(out)}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *words], env=environment, capture_output=True, text=True, check=False)

    return call


def test_records_outlast_a_checkout_that_is_copied_anew(call, tmp_path: Path) -> None:
    first = call("table", "--rows", "E")
    assert first.returncode == 75
    assert first.stdout.startswith("0 -m hdit_repro.cli submit table1 --scale mini --cluster card --wait")
    assert "--rows E\n" in first.stdout
    shutil.rmtree(tmp_path / "here" / "results")
    assert "id" in call("table").stdout.splitlines()
    with tarfile.open(tmp_path / "out" / "card.tar.gz") as archive:
        names = set(archive.getnames())
    assert names >= {
        "results/id/e.json", "runs/a/state/train.log", "runs/a/state/train.failure.json", "runs/a/metrics.jsonl",
        "runs/submissions/s/1_log.err", "runs/card/table.log", "runs/card/results/id/e.json",
    }  # fmt: skip
    assert not [name for name in names if "checkpoints" in name]


def test_what_is_measured_is_kept_where_it_outlasts_too(call) -> None:
    assert (
        "-m benchmarks.gpu --device cuda --out runs/card/speed.json --minutes 5"
        in call("speed", "--minutes", "5").stdout
    )
    assert "-m pytest tests/device -rs -W default" in call("tests").stdout
    wrong = call("spead")
    assert (wrong.returncode, "speed|table|tests" in wrong.stderr) == (2, True)


def test_the_profile_of_one_large_card_runs_four_rows_on_it() -> None:
    from hdit_repro.launch.clusters import Local, read_cluster

    profile = read_cluster("card")
    assert isinstance(profile, Local)
    assert profile.workers(16, 1) == 4
