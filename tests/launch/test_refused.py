"""Files of another user that may not be read: what hangs on them stays, is named with its owner, and stops no more."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro import files, jobs
from hdit_repro.cli.app import main
from hdit_repro.files import write_json
from hdit_repro.launch.describe import describe
from hdit_repro.launch.gc import garbage
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit
from hdit_repro.records.layout import Roots, RunFolder

Refuse = Callable[[Path], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Have the system refuse a file or a folder, as it does another user's; root is refused nothing."""
    refused: set[str] = set()

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Any, *others: Any, **named: Any) -> Any:
            if not isinstance(path, int) and os.fspath(path) in refused:
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return call(path, *others, **named)

        return asked

    for module, name in ((builtins, "open"), (io, "open"), (os, "listdir")):
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))
    other = tmp_path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    monkeypatch.setattr(files, "SYSTEM", other + 1)
    return lambda path: refused.add(str(path))


def leave(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def trained(roots: Roots, name: str) -> Path:
    """A run that is trained, with a checkpoint before its last; returns the lock of its training."""
    folder = roots.runs / name / "checkpoints"
    for step in (1, 2):
        leave(folder / f"step-{step}.safetensors")
    write_json(folder / "final.json", {"file": "step-2.safetensors"})
    return leave(roots.runs / name / "state" / "train-1.lock")


@pytest.mark.parametrize("what", ["lock", "marker", "folder"])
def test_gc_names_what_it_may_not_read_and_goes_on(
    roots: Roots, refuse: Refuse, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    trained(roots, "mine")
    lock = trained(roots, "theirs")
    hidden = {"lock": lock, "marker": lock.parents[1] / "checkpoints" / "final.json", "folder": lock.parent}[what]
    refuse(hidden)
    assert main(["gc"]) == 0, "a list is shown, as status shows one"
    listed = capsys.readouterr()
    assert "mine/checkpoints/step-1.safetensors" in listed.out
    assert "theirs" not in listed.out
    place, owner = hidden.relative_to(Path.cwd()), roots.runs.owner()
    assert f"{place} cannot be read (Permission denied; it belongs to {owner}" in listed.err
    assert "0.00 GB in 1 place; --delete" in listed.err
    assert main(["gc", "--delete"]) == 1
    said = capsys.readouterr().err
    assert "deleted 0.00 GB in 1 place" in said
    assert f"{place}: Permission denied; it belongs to {owner}" in said
    assert not (roots.runs / "mine" / "checkpoints" / "step-1.safetensors").exists()
    assert (roots.runs / "theirs" / "checkpoints" / "step-1.safetensors").exists()


def test_gc_keeps_a_submission_whose_leash_it_may_not_read(roots: Roots, refuse: Refuse) -> None:
    ended, hidden = (leave(roots.runs / "submissions" / name / "leash") for name in ("ended", "hidden"))
    refuse(hidden)
    told: list[PermissionError] = []
    assert [item.path for item in garbage(roots, told.append)] == [ended.parent]
    assert [error.filename for error in told] == [str(hidden)]


@pytest.mark.parametrize("what", ["journal.json", "."])
def test_gc_keeps_all_code_where_a_submission_may_not_be_read(
    roots: Roots, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Which code its jobs run is not known; it was deleted under them where their folder is closed."""
    monkeypatch.setattr(queue, "squeue", lambda users: {})
    monkeypatch.setattr(queue, "present", lambda: True)
    for session, code in (("mine", "old"), ("theirs", "its")):
        journal.save(roots, Journal(session=session, cluster="c", request={}, code=code, units=[], state="whole"))
        leave(roots.runs / "code" / code / "file")
    assert {item.path.name for item in garbage(roots)} == {"mine", "theirs", "old", "its"}
    refuse(roots.runs / "submissions" / "theirs" / what)
    refuse(roots.runs / "submissions" / "theirs" / "journal.json")  # nobody reads it in a closed folder either
    assert garbage(roots) == [], "code that no submission is left to tell of would never go"


def test_cancel_needs_no_lock_and_names_one_that_is_refused(
    roots: Roots, fake: Any, send: Any, refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = send(roots, ["E"]).job_ids
    (run,) = (path.parent for path in roots.runs.glob("*/run.json"))
    lock = leave(run / "state" / f"train-{run.name}.lock")
    refuse(lock)
    assert main(["cancel", "table1/E"]) == 0
    said = capsys.readouterr()
    assert {line.partition("_")[0] for line in said.out.split()} == {*sent}
    assert fake.queue == []
    assert f"{lock.relative_to(Path.cwd())} cannot be read (Permission denied; it belongs to" in said.err


def test_cancel_and_status_go_past_a_submission_that_is_refused(
    roots: Roots, fake: Any, send: Any, refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    send(roots, ["E"])
    unit = Unit(name="a", kind="train", gpus=1, hours=1, elements=(Noted(stages=("train-a",)),), begun=True, job_id="1")
    journal.save(roots, Journal(session="s", cluster="c", request={}, code="old", units=[unit], state="whole"))
    hidden = roots.runs / "submissions" / "s" / "journal.json"
    refuse(hidden)
    place = hidden.relative_to(Path.cwd())
    assert main(["status"]) == 0
    said = capsys.readouterr()
    assert "table1/E" in said.out
    assert f"{place} cannot be read (Permission denied; it belongs to" in said.err
    assert main(["retry", "table1/E"]) == 1
    assert f"{place}: Permission denied; it belongs to" in capsys.readouterr().err
    assert main(["cancel", "table1/E"]) == 1, "what it submitted is not known"
    assert f"{place}: Permission denied; it belongs to" in capsys.readouterr().err
    assert fake.queue == []


def test_retry_leaves_out_a_run_whose_files_are_refused(
    roots: Roots, fake: Any, send: Any, refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    send(roots, ["A", "E"])
    fake.end_all()
    hidden = RunFolder(roots, jobs.find("table1/A").run, "paper").lock("train")
    refuse(leave(hidden))
    assert main(["retry", "table1", "--yes", "--allow-dirty"]) == 1
    said = capsys.readouterr().err
    assert "table1/E train" in said
    assert f"{hidden.relative_to(Path.cwd())}: Permission denied; it belongs to" in said
    assert fake.queue, "the other row is submitted"


def test_gc_deletes_no_code_where_it_may_not_keep_submissions_out(
    roots: Roots, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(queue, "squeue", lambda users: {})
    monkeypatch.setattr(queue, "present", lambda: True)
    journal.save(roots, Journal(session="s", cluster="c", request={}, code="old", units=[], state="whole"))
    code = leave(roots.runs / "code" / "old" / "file")
    refuse(leave(roots.runs / "submissions" / "submit.lock"))
    assert main(["gc", "--delete"]) == 1
    assert "submit.lock: Permission denied; it belongs to" in capsys.readouterr().err
    assert code.exists()
    assert (roots.runs / "submissions" / "s").exists(), "the next time looks at its code"


def test_logs_print_what_may_be_read_and_name_the_rest(
    roots: Roots, refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    job = jobs.find("table1/E", "smoke")
    describe([job], roots)
    folder = RunFolder(roots, job.run, "smoke")
    hidden, shown = folder.log("train"), folder.log("sample")
    for path in (hidden, shown):
        leave(path)
    refuse(hidden)
    refuse(folder.failure("evaluate"))
    assert main(["logs", "table1/E"]) == 1
    said = capsys.readouterr()
    assert said.out == "x\n"
    for path in (hidden, folder.failure("evaluate")):
        assert f"{path.relative_to(Path.cwd())}: Permission denied" in said.err
