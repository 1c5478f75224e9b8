"""What starting costs, and that output is the same in a pipe."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

QUICK = (
    "--help",
    "list",
    "show table1/E",
    "plan table1",
    "cost table1/E",
    "status",
    "submit table1 --scale smoke --dry-run",
)
DEAR = ("torch", "numpy", "pandas", "matplotlib", "submitit", "rich", "pydantic", "scipy", "PIL")
SLACK = 0.6
"""Seconds: twice what an idle machine needs, for noisy ones."""

PROBE = f"""
import sys
from hdit_repro.cli import main
code = main(sys.argv[1:])
print("loaded", [name for name in {DEAR!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("line", QUICK)
def test_quick_commands_import_nothing_dear(line: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, *line.split()], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded []"
    assert "\x1b" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", QUICK[:5])
def test_quick_commands_start_at_once(line: str, tmp_path: Path) -> None:
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "hdit_repro.cli", *line.split()], capture_output=True, cwd=tmp_path, check=True
        )
        best = min(best, time.perf_counter() - began)
        if best < SLACK / 2:
            break
    assert best < SLACK


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    line = f"{sys.executable} -m hdit_repro.cli cost --json | head -c 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "["
    assert "Traceback" not in done.stderr
