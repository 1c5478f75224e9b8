"""What may be deleted, and what may not. No scheduler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hdit_repro.files import lock, write_json
from hdit_repro.launch.gc import garbage, remove
from hdit_repro.launch.slurm import queue
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit, save
from hdit_repro.launch.slurm.queue import Queued
from hdit_repro.records.layout import Roots


def leave(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_checkpoints_before_the_last_go_once_training_is_done(roots: Roots) -> None:
    folder = roots.runs / "abc" / "checkpoints"
    old, last = leave(folder / "step-00000001.safetensors"), leave(folder / "step-00000002.safetensors")
    side = leave(folder / "step-00000001.json")
    assert garbage(roots) == []
    write_json(folder / "final.json", {"file": last.name})
    assert [item.path for item in garbage(roots)] == [old, side]
    with lock(roots.runs / "abc" / "state" / "train-1.lock"):
        assert garbage(roots) == []
    remove(garbage(roots))
    assert last.exists()
    assert not old.exists()
    last.unlink()
    leave(old)
    assert garbage(roots) == [], "what final.json names is gone: nothing else may go"


def test_submissions_and_code_go_when_no_job_is_left(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"1": Queued("1", "PENDING", "Priority", "a")}
    monkeypatch.setattr(queue, "squeue", lambda: listed)
    monkeypatch.setattr(queue, "present", lambda: True)
    unit = Unit(name="a", kind="train", gpus=1, hours=1, elements=(Noted(stages=("train-a",)),), begun=True, job_id="1")
    save(roots, Journal(session="s", cluster="c", request={}, code="old", units=[unit], state="whole"))
    leave(roots.runs / "code" / "old" / "file")
    assert garbage(roots) == []
    listed.clear()
    making = leave(roots.runs / "code" / ".making-new" / "file").parent
    assert [item.path.name for item in garbage(roots)] == ["s", "old"]
    os.utime(making, (1.0, 1.0))
    assert [item.path.name for item in garbage(roots)] == ["s", "old", making.name], "today's submission makes it"
    making.rename(roots.runs / "made")
    monkeypatch.setattr(queue, "present", lambda: False)
    assert garbage(roots) == [], "nobody can say what still waits"


def test_what_was_never_finished_goes_after_a_day(roots: Roots) -> None:
    left = leave(roots.runs / "abc" / ".file.partial")
    assert garbage(roots) == []
    os.utime(left, (1.0, 1.0))
    assert [item.path for item in garbage(roots)] == [left]
