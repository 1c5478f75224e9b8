"""Cards that lack what a run has: the commands that find its stages done draw them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.cli.app import main
from hdit_repro.files import lock, write_json, write_text
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages.model_card import TERMS, write_card

COMMANDS = (
    ["eval", "--run", "table1/E", "--scale", "smoke"],
    ["submit", "table1/E", "--scale", "smoke", "--no-tables"],
)


@pytest.fixture
def folder(roots: Roots, measure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that was trained, sampled and measured, with the card of its training."""
    job = jobs.find("table1/E", "smoke")
    made = RunFolder(roots, job.run, "smoke")
    write_text(made.checkpoints / "step.safetensors", "x")
    write_json(made.final_marker, {"file": "step.safetensors", "sha256": "0", "step": 1, "run": job.run.training_id})
    write_json(made.manifest, {"complete": True, "shards": []})
    write_card(job, made)
    measure("table1/E", "smoke", 181.25)
    monkeypatch.chdir(roots.runs.parent)
    assert "not measured" in made.card.read_text()
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_a_card_without_its_number_is_put_right(folder: RunFolder, command: list[str]) -> None:
    assert main(command) == 0
    assert "181.2" in folder.card.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_card_that_cannot_be_drawn_is_said_in_a_line(
    folder: RunFolder, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.card.unlink()
    with monkeypatch.context() as patch:
        patch.delitem(TERMS, "emoji")
        assert main(command) == 0
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "card.md" in line]
    assert line.startswith("table1/E: its stages are done, and its card.md could not be written: KeyError: 'emoji'")
    assert "Traceback" not in said
    assert main(command) == 0
    assert "181.2" in folder.card.read_text()


def test_a_card_that_has_everything_or_is_being_made_is_left_alone(folder: RunFolder) -> None:
    with lock(folder.lock("evaluate")):
        assert main(COMMANDS[1]) == 0
        assert "not measured" in folder.card.read_text()
    assert main(COMMANDS[1]) == 0
    write_text(folder.card, f"a title of its own\n{folder.card.read_text()}")
    assert main(COMMANDS[1]) == 0
    assert folder.card.read_text().startswith("a title of its own")
