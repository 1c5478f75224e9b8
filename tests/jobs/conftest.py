"""A working folder with job files of its own."""

import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a `jobs/` of its own; write(name, text) puts a file there."""
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / "jobs" / f"{name}.toml"
        path.write_text(f'experiment = "{name}"\n' + textwrap.dedent(text), encoding="utf-8")
        return path

    return write
