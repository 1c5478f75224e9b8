"""A journal that cannot be understood: what it knows of is in the queue, and nobody takes it for not submitted. A list
of attempts that cannot: nobody takes it for none."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.errors import RunError
from hdit_repro.launch.gc import garbage
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm import attempts, journal
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]

DAMAGED = {
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "cut off": lambda text: text[: len(text) // 2],
    "without units": lambda text: json.dumps({**json.loads(text), "units": None}),
    "of a later version": lambda text: json.dumps({**json.loads(text), "version": 2}),
}


@pytest.fixture
def damaged(roots: Roots, fake: Any, send: Send, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of a submission that waits in the queue, cut off."""
    monkeypatch.chdir(roots.runs.parent)
    path = journal.folder(roots, send(roots, ["E"]).session) / journal.NAME
    text = path.read_text()
    for damage in DAMAGED.values():
        path.write_text(damage(text))
        with pytest.raises(journal.Damaged):
            journal.journals(roots)
    path.write_text(DAMAGED["cut off"](text))
    return path


def test_nothing_is_submitted_a_second_time(damaged: Path, roots: Roots, fake: Any, send: Send) -> None:
    before = fake.queue
    with pytest.raises(journal.Damaged) as told:
        send(roots, ["E"])
    assert str(damaged) in str(told.value.found)
    assert damaged.parent.name in told.value.fix
    assert fake.queue == before
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


def test_status_and_cancel_say_so(damaged: Path, fake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    queued = fake.queue
    assert main(["status"]) == 0
    assert "journal.json is damaged, and its jobs are not shown" in capsys.readouterr().err
    assert main(["cancel", "table1"]) == 1
    assert "a submission's journal is damaged" in capsys.readouterr().err
    assert main(["retry", "table1"]) == 1
    assert fake.queue == queued


def test_its_code_and_its_folder_stay(damaged: Path, roots: Roots, fake: Any, send: Send) -> None:
    refused: list[journal.Unread] = []
    code = [*(roots.runs / "code").iterdir()]
    assert code
    fake.end_all()
    assert not {item.path for item in garbage(roots, refused.append)} & {*code, damaged.parent}
    assert [type(error) for error in refused] == [journal.Damaged]


@pytest.mark.parametrize("text", ["", "[", "{}", '[{"session": "s"}]'])
def test_a_stage_whose_attempts_are_damaged_is_not_tried_again(text: str, roots: Roots) -> None:
    part = Part(tasks_for(wanted("table1", "smoke", ["E"]), roots)[0].folder, "train")
    part.attempts.parent.mkdir(parents=True)
    part.attempts.write_text(text)
    with pytest.raises(RunError, match="how often it failed is not known") as told:
        attempts.begin(part, "s", "1", 4, "it")
    assert str(told.value.found).startswith(f"{part.attempts}: ")
    assert part.attempts.read_text() == text
    part.attempts.unlink()
    attempts.begin(part, "s", "1", 4, "it")


def test_status_tells_of_damaged_attempts(
    roots: Roots, fake: Any, send: Send, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    part = Part(tasks_for(wanted("table1", "paper", ["E"]), roots)[0].folder, "train")
    attempts.begin(part, "s", "1", 4, "it")
    assert main(["status"]) == 0
    assert "damaged" not in capsys.readouterr().err
    part.attempts.write_text("[")
    assert main(["status"]) == 0
    assert "attempts.json is damaged, and GPU-hours and failures in it are not counted" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["the submission", "all submissions"])
def test_a_folder_that_this_user_may_not_look_into_hides_no_jobs_unsaid(
    place: str, roots: Roots, fake: Any, send: Send, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's, under `umask 077`: what waits in the queue would be submitted a second time."""
    monkeypatch.chdir(roots.runs.parent)
    own = journal.folder(roots, send(roots, ["E"]).session)
    hidden, queued = own if place == "the submission" else own.parent, fake.queue
    (own.parent / "check-1").mkdir()  # no submission: nobody asks for its rights

    def refusing(call: Callable[..., Any], within: Callable[[Path], bool]) -> Callable[..., Any]:
        def refuse(path: Any, *others: Any, **how: Any) -> Any:
            if within(Path(path)):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *others, **how)

        return refuse

    monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir, lambda path: path == hidden))
    for owner, name in ((Path, "stat"), (os, "open")):
        monkeypatch.setattr(owner, name, refusing(getattr(owner, name), lambda path: hidden in path.parents))
    with pytest.raises(PermissionError):
        send(roots, ["E"])
    assert main(["status"]) == 0
    assert "cannot be read (Permission denied), and its jobs are not shown" in capsys.readouterr().err
    assert main(["cancel", "table1"]) == 1
    assert "jobs of submissions that cannot be read were not cancelled" in capsys.readouterr().err
    assert main(["retry", "table1"]) == 1
    assert fake.queue == queued


def test_a_lock_that_this_user_may_not_take_needs_more_than_the_right_to_read(
    roots: Roots, fake: Any, send: Send, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(journal, "lock", refuse)
    assert main(["gc", "--delete"]) == 1
    said = capsys.readouterr().err
    assert "submit.lock: Permission denied" in said
    assert "chmod -R g+rwX" in said
