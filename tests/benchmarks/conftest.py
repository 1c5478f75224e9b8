"""Scripts of `benchmarks/` as modules."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script by its name, as it imports its neighbours."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return import_module
