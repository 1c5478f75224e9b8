"""Where a number comes from, in a checkout, in an installed copy, in a submitted snapshot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from hdit_repro.launch.slurm.snapshot import look, take
from hdit_repro.records import provenance
from hdit_repro.records.layout import Roots

ANY_NAME = pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="files have no such names here")


def git(folder: Path, *arguments: str) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "hdit_repro").mkdir()
    (tmp_path / "hdit_repro" / "a.py").write_text("a = 1\n", encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_says_its_commit(checkout: Path) -> None:
    assert provenance.checkout_source(checkout) == (git(checkout, "rev-parse", "HEAD"), False)


def test_changed_and_new_code_is_dirt_and_results_are_not(checkout: Path) -> None:
    for folder in ("results", "tables"):
        (checkout / folder).mkdir()
        (checkout / folder / "new.json").write_text("{}", encoding="utf-8")
    assert provenance.checkout_source(checkout).dirty is False
    (checkout / "hdit_repro" / "b.py").write_text("b = 1\n", encoding="utf-8")
    assert provenance.checkout_source(checkout).dirty is True
    (checkout / "hdit_repro" / "b.py").unlink()
    (checkout / "hdit_repro" / "a.py").write_text("a = 2\n", encoding="utf-8")
    assert provenance.checkout_source(checkout).dirty is True


def test_an_installed_copy_does_not_claim_the_repository_around_it(checkout: Path) -> None:
    inside = checkout / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    assert provenance.checkout_source(inside) == ("unknown", None)


def test_a_copy_without_a_repository_is_told_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDIT_REPRO_COMMIT", "d" * 40)
    assert provenance.checkout_source(tmp_path) == ("d" * 40, None)


def test_a_repository_knows_its_commit_whatever_it_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDIT_REPRO_COMMIT", "d" * 40)
    assert provenance.checkout_source(checkout).commit == git(checkout, "rev-parse", "HEAD")


def test_a_checkout_that_git_cannot_look_through_is_not_called_clean(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = provenance._git
    monkeypatch.setattr(provenance, "_git", lambda place, *what: None if what[0] == "status" else whole(place, *what))
    found = provenance.checkout_source(checkout)
    assert len(found.commit) == 40
    assert found.dirty is None


def test_hooks_do_not_mislead(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    assert provenance.checkout_source(checkout).commit == commit


@pytest.mark.parametrize("name", ["checkout", pytest.param("nach außen", marks=ANY_NAME)])
def test_a_checkout_of_another_user_knows_its_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As where a container mounts it; the letters of its place are no ASCII, and Python may take all for ASCII. Before
    2.38, git ignores a `safe.directory` of its command line."""
    place = checkout / "around" / name
    git(checkout, "clone", "-q", str(checkout), str(place))
    commit = git(place, "rev-parse", "HEAD")
    (tmp_path / "bin").mkdir()
    old = '#!/bin/sh\n[ "$1" = -c ] && shift 2\n'
    other = f'{old}GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n'
    (tmp_path / "bin" / "git").write_text(other, encoding="utf-8")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert subprocess.run(["git", "-C", place, "status"], capture_output=True, check=False).returncode == 128
    code = (
        "import pathlib, sys; from hdit_repro.records.provenance import checkout_source; "
        "from hdit_repro.launch.slurm.snapshot import _git; place = pathlib.Path(sys.argv[1]); "
        "print(*checkout_source(place), _git(place, 'ls-files').decode().strip())"
    )
    here = str(Path(provenance.__file__).parents[2])  # such a Python finds no editable install in a place like that
    bare = {**os.environ, "PYTHONPATH": here, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run([sys.executable, "-c", code, place], env=bare, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [commit, "False", "hdit_repro/a.py"]


def test_the_snapshot_wins(tmp_path: Path) -> None:
    noted = tmp_path / "run.json"
    noted.write_text(json.dumps({"commit": "c" * 40, "dirty": True, "other": 1}), encoding="utf-8")
    found = provenance.collect(device="cpu", seconds={"train": 1.23456}, gpu_hours={}, snapshot=noted)
    assert (found.commit, found.dirty) == ("c" * 40, True)
    assert found.seconds == {"train": 1.235}


def test_a_copy_made_for_jobs_knows_its_commit_whatever_was_submitted_since(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = look(Roots(tmp_path / "runs", tmp_path / "results"), allow_dirty=False, checkout=checkout)
    take(code)
    monkeypatch.setattr(provenance, "__file__", str(code.path / "hdit_repro" / "records" / "provenance.py"))
    noted = tmp_path / "run.json"
    noted.write_text(json.dumps({"commit": "b" * 40, "dirty": True}), encoding="utf-8")
    found = provenance.collect(device="cpu", seconds={}, gpu_hours={}, snapshot=noted)
    assert (found.commit, found.dirty) == (git(checkout, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"commit": 5}', '{"commit": ""}'])
def test_a_snapshot_that_says_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    noted = tmp_path / "run.json"
    noted.write_text(text, encoding="utf-8")
    assert provenance.submitted_source(noted) is None
    assert provenance.submitted_source(tmp_path / "none.json") is None


def test_collect_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    hours = {"train": {"NVIDIA H100": 1.0, "NVIDIA A100": 1 / 3}, "sample": {"cpu (8 cores)": 0.0}, "evaluate": {}}
    found = provenance.collect(device="NVIDIA H100", seconds={}, gpu_hours=hours, versions={"cuda": "13.0"})
    assert found.gpu_hours == 1.333333
    assert found.gpu_hours_by_stage == {**hours, "train": {"NVIDIA H100": 1.0, "NVIDIA A100": 0.333333}}
    assert found.versions["cuda"] == "13.0"
    assert found.versions["msgspec"]
    assert "SLURM" not in found.host
    assert datetime.fromisoformat(found.time).utcoffset() is not None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert provenance.host_kind().endswith("SLURM")
