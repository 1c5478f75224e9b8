"""The copy of the code that jobs run, where there is no git, and the variables that go with it. No scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro.errors import UserError
from hdit_repro.files import read_json, write_text
from hdit_repro.launch.slurm.draft import handed_on
from hdit_repro.launch.slurm.snapshot import look, take
from hdit_repro.records.layout import Roots
from hdit_repro.records.provenance import MARK

CODE = ("hdit_repro/a.py", "jobs/table1.toml", "pyproject.toml", "tables/paper/table1.json")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that came without its repository, as `git archive` makes one."""
    monkeypatch.delenv("HDIT_REPRO_COMMIT", raising=False)
    for name in (*CODE, "hdit_repro/__pycache__/a.pyc", "results/r.json"):
        write_text(tmp_path / "code" / name, name)
    return tmp_path / "code"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("commit", ["", "d" * 40])
def test_a_copy_without_a_repository_is_copied_whole(
    roots: Roots, copied: Path, monkeypatch: pytest.MonkeyPatch, commit: str
) -> None:
    monkeypatch.setenv("HDIT_REPRO_COMMIT", commit)
    code = look(roots, allow_dirty=False, checkout=copied)
    take(code)
    assert names(code.path) == {*CODE, MARK}
    noted = read_json(code.path / MARK)
    assert (noted["commit"], noted["dirty"]) == (commit or "unknown", None)
    assert look(roots, allow_dirty=False, checkout=copied).path == code.path
    write_text(copied / "jobs" / "table1.toml", "another")
    assert look(roots, allow_dirty=False, checkout=copied).path != code.path


def test_of_an_installed_package_nothing_else_is_copied(roots: Roots, copied: Path) -> None:
    (copied / "pyproject.toml").unlink()
    code = look(roots, allow_dirty=False, checkout=copied)
    take(code)
    assert names(code.path) == {"hdit_repro/a.py", MARK}


def test_jobs_are_told_the_submitters_places_and_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HDIT_REPRO_CACHE", "HDIT_REPRO_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert handed_on() == {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDIT_REPRO_DATA", "data")
    monkeypatch.setenv("HDIT_REPRO_OFFLINE", "1")
    monkeypatch.setenv("HDIT_REPRO_NEIGHBORHOOD", "tiled")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = {
        "HDIT_REPRO_CACHE": str(tmp_path / "cache" / "hdit-repro"),
        "HDIT_REPRO_DATA": str(tmp_path / "data"),
        "HDIT_REPRO_OFFLINE": "1",
        "HDIT_REPRO_NEIGHBORHOOD": "tiled",
    }
    assert handed_on() == told
    monkeypatch.setenv("HDIT_REPRO_CACHE", "mine")
    assert handed_on() == {**told, "HDIT_REPRO_CACHE": str(tmp_path / "mine")}
    monkeypatch.setenv("HDIT_REPRO_NEIGHBORHOOD", "tilde")
    with pytest.raises(UserError, match="names no backend") as caught:
        handed_on()
    assert "tiled" in str(caught.value.expected)
