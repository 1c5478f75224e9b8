"""`make setup` where an earlier one ended half-way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_environment_without_pip_is_made_again(tmp_path: Path) -> None:
    """What is left where Debian's python3-venv was missing, or of Ctrl-C."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    inner, outer = tmp_path / ".venv" / "bin" / "python", tmp_path / "python3"
    inner.parent.mkdir(parents=True)
    inner.write_text("#!/bin/sh\nexit 1\n")
    outer.write_text('#!/bin/sh\necho "$*" >> told\n')
    for path in (inner, outer):
        path.chmod(0o755)
    done = subprocess.run(["make", "setup", "PYTHON=./python3"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2, "the made-up environment still installs nothing"
    assert (tmp_path / "told").read_text().splitlines()[-1] == "-m venv .venv"
