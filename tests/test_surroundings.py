"""The tests leave alone what they are started from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hdit_repro.files import cache_folder

HERE = Path(__file__).resolve().parent


def test_the_users_cache_is_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert cache_folder().is_relative_to(tmp_path_factory.getbasetemp())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_hook_may_run_the_tests(tmp_path: Path) -> None:
    """Git tells a hook of a linked worktree where its repository is; those that tests make are others."""
    subprocess.run(["git", "init", "-q", tmp_path / "mine"], check=True)
    (tmp_path / "config").write_text(f"[core]\nhooksPath = {tmp_path}\n")
    (tmp_path / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "pre-commit").chmod(0o755)
    mine = {"GIT_DIR": str(tmp_path / "mine" / ".git"), "GIT_CONFIG_GLOBAL": str(tmp_path / "config")}
    test = f"{HERE}/records/test_provenance.py::test_a_clean_checkout_says_its_commit"
    command = [sys.executable, "-m", "pytest", f"--basetemp={tmp_path / 'made'}", test]
    done = subprocess.run(command, env=os.environ | mine, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not list((tmp_path / "mine" / ".git" / "refs" / "heads").iterdir())
