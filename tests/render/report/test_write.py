"""A report is the same of the same workplace, and takes the place of the one before, whole, whoever else writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.errors import UserError
from hdit_repro.files import write_text
from hdit_repro.records.layout import Roots
from hdit_repro.render.report import build

Measure = Callable[..., Path]


def test_two_reports_of_one_workplace_are_equal(roots: Roots, measure: Measure, tmp_path: Path) -> None:
    measure("table1/E", "smoke", 181.0)
    one, two = (build("smoke", roots, tmp_path / name).folder for name in ("one", "two"))
    for path in sorted(one.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name


def test_a_report_that_another_one_overtakes_replaces_it(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between the moment when the old one is put aside and that when the new one stands."""
    target = build("smoke", roots).folder
    other = tmp_path / "other"
    write_text(other / "report.json", "{}")
    rename = Path.rename

    def overtaken(path: Path, to: Path) -> Path:
        moved = rename(path, to)
        if path == target and other.exists():
            rename(other, target)
        return moved

    monkeypatch.setattr(Path, "rename", overtaken)
    assert (build("smoke", roots).folder / "index.html").is_file()
    assert [path.name for path in target.parent.iterdir()] == ["smoke"]


def test_a_report_that_another_one_moved_away_is_no_error(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    target = build("smoke", roots).folder
    rename = Path.rename

    def taken(path: Path, to: Path) -> Path:
        if path == target:
            rename(path, target.with_name(".smoke.another.old0"))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", taken)
    assert (build("smoke", roots).folder / "index.html").is_file()


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_the_folder_of_a_report_has_the_mode_of_every_other(roots: Roots, umask: int) -> None:
    """Only where a group may write in it can another of the group replace the report."""
    before = os.umask(umask)
    try:
        folder = build("smoke", roots).folder
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((folder / "rows").stat().st_mode) == 0o777 & ~umask


def test_a_link_to_a_report_stays_one(roots: Roots, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(build("smoke", roots).folder)
    (link / "stale").touch()
    assert build("smoke", roots, link).folder == link
    assert link.is_symlink()
    assert (link / "index.html").is_file()
    assert not (link / "stale").exists()


def test_a_report_replaces_a_report_and_nothing_else(roots: Roots, tmp_path: Path) -> None:
    made = build("smoke", roots, tmp_path / "mine")
    (made.folder / "stale.html").write_text("old")
    build("smoke", roots, tmp_path / "mine")
    assert not (made.folder / "stale.html").exists()
    assert not list(tmp_path.glob(".mine*"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="something that is none"):
        build("smoke", roots, other)
    assert (other / "thesis.tex").read_text() == "years of work"
