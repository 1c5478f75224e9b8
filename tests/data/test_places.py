"""Data sets of one's own are found by what they hold, wherever they lie."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hdit_repro.data.places import describe, find, name_of, remember
from hdit_repro.data.whereabouts import DATA_VARIABLE
from hdit_repro.errors import RunError, UserError
from hdit_repro.spec.data import Folder


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Folder]:
    """A folder of images that was noted, and what it is."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "root"))
    mine = tmp_path / "mine"
    mine.mkdir()
    for shade in range(4):
        Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(mine / f"{shade}.png")
    dataset = describe(mine)
    remember(dataset, mine)
    return mine, dataset


def test_where_it_was_noted(noted: tuple[Path, Folder]) -> None:
    mine, dataset = noted
    assert Path(find(dataset).path).resolve() == mine.resolve()


def test_a_place_that_holds_nothing_any_more_keeps_no_other_from_being_looked_at(noted: tuple[Path, Folder]) -> None:
    mine, dataset = noted
    there = mine.parent / "root" / "mine"
    shutil.copytree(mine, there)
    for image in mine.iterdir():
        image.unlink()
    assert Path(find(dataset).path).resolve() == there.resolve()


def test_somebody_elses_place_keeps_no_other_from_being_looked_at(
    noted: tuple[Path, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note in a cache that people share may name a folder in another's home."""
    mine, dataset = noted
    there = mine.parent / "root" / "mine"
    shutil.copytree(mine, there)
    exists = Path.exists

    def allowed(path: Path) -> bool:
        if path == mine.resolve():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", allowed)
    assert Path(find(dataset).path).resolve() == there.resolve()
    shutil.rmtree(there)
    with pytest.raises(UserError, match="is not here as it was") as caught:
        find(dataset)
    assert caught.value.found == f"{mine.resolve()}: Permission denied"


def test_a_place_that_cannot_be_read_is_no_place_without_the_images(
    noted: tuple[Path, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job tries a failed run again, and no wrong request."""
    mine, dataset = noted
    walk = os.walk

    def stumbles(root: Path, onerror: Callable[[OSError], None]) -> object:
        if Path(root) == mine.resolve():
            onerror(OSError(errno.ETIMEDOUT, "Connection timed out", str(root)))
        return walk(root, onerror=onerror)

    monkeypatch.setattr(os, "walk", stumbles)
    with pytest.raises(RunError, match="a folder cannot be listed"):
        find(dataset)
    there = mine.parent / "root" / "mine"
    shutil.copytree(mine, there)
    assert Path(find(dataset).path).resolve() == there.resolve(), "it keeps no other from being looked at"


def test_what_lies_there_instead_is_said_of_every_place(noted: tuple[Path, Folder]) -> None:
    mine, dataset = noted
    there = mine.parent / "root" / "mine"
    shutil.copytree(mine, there)
    (there / "3.png").unlink()
    shutil.rmtree(mine)
    mine.mkdir()
    with pytest.raises(UserError, match="is not here as it was") as caught:
        find(dataset)
    assert f"{mine}: there is no image" in str(caught.value.found)
    assert f"{there} has the digest" in str(caught.value.found)
    shutil.rmtree(there)
    mine.rmdir()
    with pytest.raises(UserError, match="is not here as it was") as caught:
        find(dataset)
    assert str(caught.value.found).startswith("none of ")


def test_a_folder_keeps_its_whole_name_and_an_archive_loses_its_ending(tmp_path: Path) -> None:
    for version in ("pets.v1", "pets.v2"):
        (tmp_path / version).mkdir()
        for shade in range(2):
            Image.new("RGB", (8, 8), (60 * shade, 0, 0)).save(tmp_path / version / f"{shade}.png")
        assert describe(tmp_path / version).name == version
    assert name_of(tmp_path / "pets.v1.zip") == "pets.v1"


def test_a_name_that_breaks_tables_is_refused(noted: tuple[Path, Folder]) -> None:
    other = noted[0].rename(noted[0].with_name("mi\rne"))
    with pytest.raises(UserError, match=r"no table can show(.|\n)*'mi\\rne'"):
        describe(other)
