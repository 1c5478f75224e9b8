"""What may be deleted, and what may not. No scheduler."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.cli.app import main
from hdit_repro.files import lock, write_json
from hdit_repro.launch.gc import garbage, remove
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit, save
from hdit_repro.launch.slurm.queue import Queued
from hdit_repro.launch.slurm.snapshot import look
from hdit_repro.records.layout import Roots

pytestmark = pytest.mark.usefixtures("cache")


def leave(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_checkpoints_before_the_last_go_once_training_is_done(roots: Roots) -> None:
    folder = roots.runs / "abc" / "checkpoints"
    old, last = leave(folder / "step-00000001.safetensors"), leave(folder / "step-00000002.safetensors")
    side = leave(folder / "step-00000001.json")
    copy = leave(folder / "step-00000001 (copy).safetensors")
    assert garbage(roots) == []
    write_json(folder / "final.json", {"file": last.name})
    assert [item.path for item in garbage(roots)] == [old, side]
    with lock(roots.runs / "abc" / "state" / "train-1.lock"):
        assert garbage(roots) == []
    assert remove(garbage(roots)) == []
    assert last.exists()
    assert copy.exists()
    assert not old.exists()
    last.unlink()
    leave(old)
    assert garbage(roots) == [], "what final.json names is gone: nothing else may go"
    write_json(folder / "final.json", {"file": "final.json"})
    assert garbage(roots) == [], "what final.json names is no checkpoint"


def test_what_is_finished_while_it_is_looked_at_is_nothing_to_delete(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that runs writes its progress every second, each time under a name that is gone again at once."""
    path, old = (leave(roots.runs / "abc" / "state" / f".{name}.partial") for name in ("1", "2"))
    os.utime(old, (1.0, 1.0))
    clock = time.time

    def finishing() -> float:
        path.unlink(missing_ok=True)
        return clock()

    monkeypatch.setattr("hdit_repro.launch.gc.time.time", finishing)
    assert [item.path for item in garbage(roots)] == [old]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_what_cannot_be_looked_at_counts_no_bytes_and_ends_nothing(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """Another gc deletes it meanwhile; or its folder may be listed and not entered."""
    folder = roots.runs / "report" / ".smoke.abcd"
    seen, hidden = leave(folder / "seen", "four"), leave(folder / "hidden")
    os.utime(folder, (1.0, 1.0))
    lstat, stat = Path.lstat, Path.stat

    def guarded(path: Path, look: Callable[[Path], os.stat_result]) -> os.stat_result:
        if path == hidden:
            raise error(str(path))
        return look(path)

    monkeypatch.setattr(Path, "lstat", lambda path: guarded(path, lstat))
    monkeypatch.setattr(Path, "stat", lambda path, **named: guarded(path, lambda p: stat(p, **named)))
    assert [(item.path, item.bytes) for item in garbage(roots)] == [(folder, len(seen.read_text()))]


def test_submissions_and_code_go_when_no_job_is_left(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"1": Queued("1", "PENDING", "Priority", "a")}
    monkeypatch.setattr(queue, "squeue", lambda users: listed)
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


def test_what_a_submission_that_is_being_made_needs_stays(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no job yet; and one that has only copied this checkout's code has no journal yet."""
    monkeypatch.setattr(queue, "squeue", lambda users: {})
    monkeypatch.setattr(queue, "present", lambda: True)
    unit = Unit(name="a", kind="train", gpus=1, hours=1, elements=(Noted(stages=("train-a",)),), begun=True)
    save(roots, Journal(session="s", cluster="c", request={}, code="its", units=[unit]))
    here = look(roots, allow_dirty=True).path
    for path in (roots.runs / "code" / "its", here, roots.runs / "code" / "old"):
        leave(path / "file")
    assert [item.path.name for item in garbage(roots)] == ["old"]


def test_a_submission_goes_only_when_no_job_of_whoever_made_it_is_left(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group shares a workplace: squeue tells of nobody that it is not asked for."""
    monkeypatch.setattr(queue, "present", lambda: True)
    monkeypatch.setattr(queue, "ask", lambda *command: "1|PENDING|Priority|0:00|a\n" if other in command[4] else "")
    unit = Unit(name="a", kind="train", gpus=1, hours=1, elements=(Noted(stages=("train-a",)),), begun=True, job_id="1")
    save(roots, Journal(session="s", cluster="c", request={}, code="old", units=[unit], state="whole"))
    leave(roots.runs / "code" / "old" / "file")
    mine, other = os.getuid(), str(os.getuid() + 4321)
    assert [item.path.name for item in garbage(roots)] == ["s", "old"]
    monkeypatch.setattr("hdit_repro.launch.slurm.journal.submitters", lambda _: {mine + 4321})
    assert garbage(roots) == []


def test_what_cannot_be_deleted_is_said(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, gone = (leave(roots.runs / "abc" / f".{name}.partial", "x" * 30_000_000) for name in ("kept", "gone"))
    for path in (kept, gone):
        os.utime(path, (1.0, 1.0))
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == kept:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    monkeypatch.chdir(roots.runs.parent)
    assert main(["gc", "--delete"]) == 1
    said = capsys.readouterr().err
    assert "deleted 0.03 GB in 1 place\n" in said
    assert "1 place could not be deleted" in said
    assert ".kept.partial" in said
    assert (kept.exists(), gone.exists()) == (True, False)


def test_what_was_never_finished_goes_after_a_day(roots: Roots) -> None:
    left = [
        leave(roots.results / "abc" / ".record.json.1234.partial"),
        leave(roots.runs / "abc" / ".file.partial"),
        leave(roots.runs / "report" / ".smoke.abcd" / "index.html").parent,
    ]
    leave(roots.runs / "report" / "smoke" / "index.html")
    assert garbage(roots) == []
    for path in left:
        os.utime(path, (1.0, 1.0))
    assert {item.path for item in garbage(roots)} == {*left}
    assert remove(garbage(roots)) == []
    assert (roots.runs / "report" / "smoke" / "index.html").exists()


def test_what_was_never_finished_is_found_in_the_cache_and_under_tables_too(roots: Roots, cache: Path) -> None:
    left = [
        leave(cache / "references" / ".moments.npz.1234.partial"),
        leave(roots.results.parent / "tables" / "mini" / ".table1.md.1234.partial"),
    ]
    goes_on = leave(cache / ".pets.zip.partial")
    leave(cache / ".pets.zip.journal")
    assert garbage(roots) == []
    for path in (*left, goes_on):
        os.utime(path, (1.0, 1.0))
    assert {item.path for item in garbage(roots)} == {*left}


def test_submissions_on_this_machine_go_when_nobody_waits_for_them(roots: Roots) -> None:
    leash = leave(roots.runs / "submissions" / "20260101T000000-1" / "leash")
    leave(roots.runs / "submissions" / "unwaited" / "1_0_log.out")
    with lock(leash):
        assert garbage(roots) == []
    assert [item.path for item in garbage(roots)] == [leash.parent]


def test_a_quota_that_has_no_room_for_a_lock_keeps_nothing_but_code(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting is what mends it."""
    monkeypatch.chdir(roots.runs.parent)
    monkeypatch.setattr(queue, "squeue", lambda users: {})
    monkeypatch.setattr(queue, "present", lambda: True)
    save(roots, Journal(session="s", cluster="c", request={}, code="old", units=[], state="whole"))
    code, partial = leave(roots.runs / "code" / "old" / "file"), leave(roots.runs / "abc" / ".file.partial")
    os.utime(partial, (1.0, 1.0))

    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "submit.lock")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "turn", full)
        with pytest.warns(UserWarning, match="no room for a lock"):
            assert main(["gc", "--delete"]) == 0
    assert code.exists()
    assert not partial.exists()
    assert main(["gc", "--delete"]) == 0
    assert not code.exists()
