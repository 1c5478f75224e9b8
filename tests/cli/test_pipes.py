"""A pipe where a run has a file: nobody waits for what it will never say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.files import NoFile, is_locked, read_bytes, read_json, read_text, sha256_file
from hdit_repro.launch.describe import describe
from hdit_repro.records.layout import Roots, RunFolder

Command = Callable[[str], Any]
PLACES: dict[str, Callable[[RunFolder], Path]] = {
    "run.json": lambda folder: folder.description,
    "final.json": lambda folder: folder.final_marker,
    "manifest.json": lambda folder: folder.manifest,
    "train.log": lambda folder: folder.log("train"),
    "progress": lambda folder: folder.progress("train"),
    "failure": lambda folder: folder.failure("train"),
    "lock": lambda folder: folder.lock("train"),
}
COMMANDS = ("status", "logs table1/E --scale smoke", "plan table1/E --scale smoke")
READERS = {"train.log": COMMANDS[1:2], "lock": COMMANDS}
"""Commands that name the file, since they would show what it holds."""


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    """Whoever opens a pipe that nobody writes to would wait for ever."""

    def waited(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("somebody waits for a pipe")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("read", [read_bytes, read_text, sha256_file, is_locked])
def test_a_pipe_is_no_file_to_be_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NoFile, match="a pipe, a device or a socket, and no file"):
        read(pipe)


def test_a_pipe_is_a_damaged_file_where_json_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(UserError, match=r"run\.json: a pipe, a device or a socket") as caught:
        read_json(tmp_path / "run.json")
    assert caught.value.problem == "a file is damaged"


@pytest.mark.parametrize("place", PLACES)
def test_commands_end_where_a_run_has_a_pipe_for_a_file(command: Command, tmp_path: Path, place: str) -> None:
    job, roots = jobs.find("table1/E", "smoke"), Roots(tmp_path / "runs", tmp_path / "results")
    describe([job], roots)
    pipe = PLACES[place](RunFolder(roots, job.run, "smoke"))
    pipe.unlink(missing_ok=True)
    pipe.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    said = {line: command(line) for line in COMMANDS}
    for line, one in said.items():
        assert "Traceback" not in one.out + one.err, line
    for line in READERS.get(place, ()):
        assert pipe.name in said[line].err, said[line]
