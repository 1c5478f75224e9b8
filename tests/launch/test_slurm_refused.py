"""Places and prices that a submission is refused for, before anything is in the queue."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro.cli.app import main
from hdit_repro.errors import RunError, UserError
from hdit_repro.jobs import files
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.slurm import preflight
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]
States = Callable[[Roots], list[str]]


def test_a_full_quota_and_a_small_disk_are_found_before(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="no space left"):
            preflight.check_room(roots.runs, 0)
    assert list(roots.runs.iterdir()) == []
    with pytest.raises(UserError, match="not enough room") as refusal:
        preflight.check_room(roots.runs, 1 << 60)
    assert "gc" in refusal.value.fix
    assert fake.calls == []


def test_what_is_queued_counts_against_the_sites_cap() -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    preflight.check_cap(profile, 10**6, 10**6)  # 0 is no cap
    capped = msgspec.structs.replace(profile, submit_cap=10)
    preflight.check_cap(capped, 6, 4)
    with pytest.raises(UserError, match="does not take so many jobs") as refusal:
        preflight.check_cap(capped, 7, 4)
    assert refusal.value.found == "4 to be submitted, 7 in the queue"
    assert str(refusal.value.expected).startswith("10 in all")


def test_the_budget_is_the_profiles_own(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = roots.runs.parent / "jobs" / "clusters"
    folder.mkdir(parents=True)
    profile = (files.folders()[-1] / "clusters" / "a100.toml").read_text()
    (folder / "thrifty.toml").write_text(profile.replace("ask_above_gpu_hours = 100.0", "ask_above_gpu_hours = 59.0"))
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1", "--cluster", "thrifty", "--allow-dirty", "--rows", "E"]) == 2
    assert "59 at most (ask_above_gpu_hours of thrifty)" in capsys.readouterr().err
    assert fake.calls == []


def test_more_than_the_stated_budget_needs_a_yes(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], states: States
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    asked = ["submit", "table1", "--cluster", "a100", "--allow-dirty"]
    assert main([*asked, "--rows", "R1,E"]) == 2
    said = capsys.readouterr()
    assert "costs more than is given without asking" in said.err
    assert "100 at most (ask_above_gpu_hours of a100)" in said.err
    assert (fake.calls, fake.queue, states(roots)) == ([], [], [])
    assert main([*asked, "--rows", "E"]) == 0, "60 hours are fewer than 100"
    assert capsys.readouterr().out.split() == ["100", "101", "102"]
    assert main([*asked, "--rows", "R1", "--yes"]) == 0
    assert len(fake.calls) == 6


@pytest.mark.parametrize("name", ["100%j", "a:b", "a\\b", "a\nb"])
def test_a_path_that_means_something_else_to_a_job_is_refused(roots: Roots, fake: Any, name: str, send: Send) -> None:
    runs = roots.runs / name / "runs"
    with pytest.raises(UserError, match="cannot be told of this folder") as refusal:
        send(roots._replace(runs=runs), ["E"])
    assert repr(name[-2]) in str(refusal.value)
    assert fake.calls == []
    assert not runs.exists()


def test_a_disk_that_is_read_only_is_refused_with_the_mend(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    """Such a disk refuses to delete as well, even what is not there."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UserError, match="folder of runs cannot be written") as refusal:
        send(roots, ["E"])
    assert "`runs` in the cluster's profile" in refusal.value.fix
    assert not (roots.runs / "submissions").exists()


def test_tables_of_a_cluster_are_rendered_by_its_last_job(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1/E", "--cluster", "a100", "--allow-dirty", "--no-tables"]) == 2
    assert "leave --no-tables out" in capsys.readouterr().err
    assert fake.calls == []


def test_a_folder_of_runs_that_cannot_be_is_refused_with_the_mend(roots: Roots, fake: Any, send: Send) -> None:
    (roots.runs / "file").write_text("in the way")
    with pytest.raises(UserError, match="folder of runs cannot be written") as refusal:
        send(roots._replace(runs=roots.runs / "file" / "runs"), ["E"])
    assert "`runs` in the cluster's profile" in refusal.value.fix
    assert fake.calls == []
