"""The command line, called in this process from an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hdit_repro.cli import main


class Said(NamedTuple):
    """What a command left: exit code, data, remarks."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Call a line of words, and behind them paths, which may have spaces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HDIT_REPRO_CLUSTER", raising=False)

    def call(line: str, *paths: Path) -> Said:
        code = main([*line.split(), *map(str, paths)])
        return Said(code, *capsys.readouterr())

    return call
