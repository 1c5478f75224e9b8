"""Environment variables: all that are read are named, and what nobody reads is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hdit_repro.cli.app import main
from hdit_repro.cli.variables import VARIABLES

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"HDIT_REPRO_[A-Z]+")


def test_the_package_and_the_readme_name_the_same_ones() -> None:
    read = {
        name for path in (ROOT / "hdit_repro").rglob("*.py") for name in NAME.findall(path.read_text(encoding="utf-8"))
    }
    assert read == {*VARIABLES}
    assert {
        *re.findall(r"^\| `(HDIT_REPRO_[A-Z]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    } == read


def test_one_that_nothing_reads_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HDIT_REPRO_DATE", "x")
    monkeypatch.setenv("HDIT_REPRO_QQQQQQQQQQQQ", "x")
    monkeypatch.setenv("HDIT_REPRO_OFFLINE", "1")
    assert main(["list", "--json"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "nothing reads $HDIT_REPRO_DATE; did you mean HDIT_REPRO_DATA?",
        "nothing reads $HDIT_REPRO_QQQQQQQQQQQQ",
    ]
