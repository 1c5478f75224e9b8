"""A cache of its own for each test, and small folders of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def plain() -> Callable[..., Path]:
    """Fill a folder with noise, a folder a class; returns it."""
    return _plain


def _plain(root: Path, classes=("n01", "n02"), each=3, size=(20, 24), suffix="png") -> Path:
    rng = np.random.default_rng(5)
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{i}.{suffix}")
    return root
