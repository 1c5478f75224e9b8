"""Files and folders of another user in a workplace that several share."""

from __future__ import annotations

import builtins
import errno
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hdit_repro import files, jobs
from hdit_repro.cli.app import _of_the_system
from hdit_repro.data.archive import Archive
from hdit_repro.data.prepare import prepare
from hdit_repro.data.store import open_store
from hdit_repro.data.tars import TarStore
from hdit_repro.errors import RunError
from hdit_repro.launch import cards, status
from hdit_repro.launch.describe import describe
from hdit_repro.launch.progress import Seen
from hdit_repro.metrics.adm import add_adm
from hdit_repro.metrics.npz import NpzImages
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages.exchange import read_released

Command = Callable[[str], Any]


def test_a_file_of_another_user_is_told_with_its_owner_and_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.lock"
    path.touch()
    refused = PermissionError(errno.EACCES, "Permission denied", str(path))
    assert "belongs to" not in str(_of_the_system(refused).found), "it is one's own"
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    told = _of_the_system(refused)
    assert f"{path}: Permission denied; it belongs to {path.owner()}" in str(told.found)
    assert "umask 002" in told.fix


def test_a_file_where_a_folder_is_wanted_is_told_as_that(tmp_path: Path) -> None:
    """It was told to have its permissions mended."""
    (tmp_path / "tables").touch()
    for asked, said in ((tmp_path / "tables", "it is a file"), (tmp_path / "tables" / "a", "tables is a file")):
        with pytest.raises(OSError, match=r"exists|Not a directory") as refused:
            asked.mkdir(parents=True)
        told = _of_the_system(refused.value)
        assert f"{said}, where a folder is wanted" in str(told.found)
        assert told.fix == "name another place, or move the file away"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_or_a_file_server_that_fails_is_no_matter_of_rights(number: int) -> None:
    told = _of_the_system(OSError(number, os.strerror(number), "run.json"))
    assert f"run.json: {os.strerror(number)}" in str(told.found)
    assert "file server" in told.fix
    assert "permissions" not in told.fix


def test_a_folder_that_hides_a_path_is_told_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    monkeypatch.setattr(files, "SYSTEM", tmp_path.stat().st_uid + 2)
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "made" / "later.json"))
    told = _of_the_system(refused)
    assert f"later.json: Permission denied; {tmp_path} belongs to {tmp_path.owner()}" in str(told.found)
    assert f"ask {tmp_path.owner()}" in told.fix
    monkeypatch.setattr(files, "SYSTEM", tmp_path.stat().st_uid)
    assert "umask" not in _of_the_system(refused).fix, "nobody asks for the rights to a folder of the system"


def test_a_run_folder_that_cannot_be_looked_into_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    hidden = _described(roots, "table1/E", "table1/A")["table1/A"].description
    owner = tmp_path.owner()
    stat, opened = Path.stat, os.open

    def refuse(path: Path) -> None:
        if path == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", lambda path, **how: refuse(path) or stat(path, **how))
    monkeypatch.setattr(os, "open", lambda path, *how, **more: refuse(Path(path)) or opened(path, *how, **more))
    monkeypatch.setattr(os, "geteuid", lambda: stat(tmp_path).st_uid + 1)
    monkeypatch.setattr(files, "SYSTEM", stat(tmp_path).st_uid + 2)
    place = f"runs/{hidden.parent.name}"
    line = f"{place}/run.json cannot be read (Permission denied; {place} belongs to {owner}, whose `chmod -R g+rX`"
    said = command("status")
    assert (said.code, "table1/E" in said.out, "table1/A" in said.out) == (0, True, False)
    assert line in said.err
    assert {row["run"] for row in command("status --json").json} == {"table1/E"}
    for asked in ("logs table1/A", "retry table1/A", "cancel table1/A"):
        said = command(asked)
        assert (said.code, line in said.err) == (2, True), asked


def test_files_of_a_run_that_are_refused_hide_no_other_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = _described(Roots(tmp_path / "runs", tmp_path / "results"), "table1/E", "table1/A")
    hidden = folders["table1/A"].progress("train")

    def read(path: Path) -> Seen:
        if path == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return Seen()

    monkeypatch.setattr(status, "read_progress", read)
    said = command("status --json")
    assert (said.code, {row["run"] for row in said.json}) == (0, {"table1/E"})
    told = f"{hidden.relative_to(tmp_path)} "
    assert told in said.err
    said = command("status")
    assert (said.code, "table1/E" in said.out, told in said.err) == (0, True, True)


def test_a_reference_that_may_not_be_read_is_not_called_damaged(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.cache_folder() / "references" / "theirs.safetensors"
    files.write_bytes(path, b"")
    assert [row["kind"] for row in command("reference list --json").json] == ["damaged"]
    monkeypatch.setattr(os, "access", lambda place, mode: place != path)
    assert [row["kind"] for row in command("reference list --json").json] == ["unreadable"]


def _described(roots: Roots, *names: str) -> dict[str, RunFolder]:
    """Run folders of rows at smoke scale, as a submission leaves them."""
    found = {name: jobs.find(name, "smoke") for name in names}
    describe(found.values(), roots)
    return {name: RunFolder(roots, job.run, "smoke") for name, job in found.items()}


def test_a_job_file_that_may_not_be_read_costs_itself_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs" / "mine.toml"
    files.write_text(path, '[row.wide]\nextends = "table1/E"\n')
    opened, owner = os.open, path.owner()

    def refuse(place: Any, *others: Any, **how: Any) -> int:
        if Path(place) == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(place, *others, **how)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    said = command("list")
    assert (said.code, "table1/E" in said.out) == (0, True)
    assert f"mine.toml: Permission denied; it belongs to {owner}" in said.err
    assert command("show mine/wide").code == 2


def test_job_files_that_may_not_be_listed_are_not_taken_for_none(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of one's own would be unknown, or the project's of the same name taken for it."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "jobs"
    own.mkdir()
    scandir, listdir = os.scandir, os.listdir

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(place: Any = ".") -> Any:
            if str(place) == str(own):
                raise PermissionError(errno.EACCES, "Permission denied", str(own))
            return call(place)

        return refuse

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "listdir", refusing(listdir))
    said = command("show table1/E")
    assert said.code == 1
    assert f"{own}: Permission denied" in said.err


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("photographs.zip", Archive),
        ("photographs.tar", TarStore),
        ("photographs.npz", NpzImages),
        ("VIRTUAL_imagenet128_labeled.npz", add_adm),
    ],
)
def test_an_archive_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, opened: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    with tarfile.open(path, "w"):
        pass

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("zipfile.ZipFile.__init__", refuse)
    monkeypatch.setattr("hdit_repro.data.tars.TarStore._members", refuse)
    with pytest.raises(PermissionError):
        opened(path)


def test_an_image_of_another_user_is_told_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1.png"
    Image.new("RGB", (8, 8)).save(path)
    owner = path.owner()

    def refuse(place: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(RunError, match=f"Permission denied; it belongs to {owner}"):
        prepare(open_store(tmp_path), tmp_path / "made.zip", 8, "none")


def test_weights_that_may_not_be_read_are_neither_damaged_nor_missing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.open", _refusing(builtins.open))
    weights, pickled, settings = (tmp_path / name for name in ("w.safetensors", "w.pth", "config.json"))
    for path in (weights, pickled):
        path.touch()
    settings.write_text(json.dumps({"model": {"type": "image_transformer_v2"}}))
    for path in (weights, pickled):
        with pytest.raises(PermissionError):
            read_released("k-diffusion", path, settings)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).suffix != ".safetensors")
    said = command("import --from k-diffusion --name theirs", weights)
    assert (said.code, f"{weights}: Permission denied" in said.err) == (1, True)


def _refusing(allowed: Callable[..., Any]) -> Callable[..., Any]:
    """`open`, which may not read weights."""

    def opened(path: Any, *others: Any, **how: Any) -> Any:
        if str(path).endswith((".safetensors", ".pth")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *others, **how)

    return opened


def test_a_lock_that_may_not_be_read_costs_a_run_its_card_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = Roots(tmp_path / "runs", tmp_path / "results")
    _described(roots, "table1/E", "table1/A")
    drawn: list[str] = []

    def refuse(path: Path) -> bool:
        if "train" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return False

    monkeypatch.setattr(cards, "is_locked", refuse)
    monkeypatch.setattr(cards, "mend_card", lambda job, folder: drawn.append(job.name))
    (line,) = cards.mend_cards([jobs.find("table1/E", "smoke")], roots)
    assert "table1/E: its stages are done, and its card.md could not be written" in line
    assert "Permission denied" in line
    assert drawn == []
