"""A made-up workplace, and stages without torch that other processes can import too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro.launch.clusters import Local
from hdit_repro.records.layout import Roots

HERE = Path(__file__).resolve().parent


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of made-up stages, importable here and in every process started from here."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield import_module("made_up_stages")
    sys.modules.pop("made_up_stages", None)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "runs").mkdir()
    return Roots(tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def two_at_once() -> Local:
    return Local(name="local", jobs_at_once=2, cpu_macs_per_second=1e10, cpu_features_per_second=10.0)
