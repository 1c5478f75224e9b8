"""A journal that cannot be understood: what it knows of is in the queue, and nobody takes it for not submitted."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.launch.gc import garbage
from hdit_repro.launch.slurm import journal
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
