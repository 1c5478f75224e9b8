"""Reports without their figures, and one for all to read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest

from hdit_repro.files import write_text
from hdit_repro.records.layout import Roots
from hdit_repro.render.report import build


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Figures have tests of their own and take seconds to draw; here an empty drawing stands for each."""

    def draw(
        out: Path, _records: object, names: Iterable[str], _ledger: object, kinds: Iterable[str], _scale: str
    ) -> None:
        for name, kind in product(names, kinds):
            write_text(out / f"{name}.{kind}", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hdit_repro.render.report.write.render_figures", draw)
        yield


@pytest.fixture(autouse=True)
def figures_drawn_elsewhere() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="session")
def roots_of_made(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    folder = tmp_path_factory.mktemp("made")
    return Roots(folder / "runs", folder / "results")


@pytest.fixture(scope="session")
def made(roots_of_made: Roots, measurer: Callable[[Roots], Callable[..., Path]], remains: Callable[..., None]) -> Path:
    """A smoke report of three rows; E has three seeds."""
    roots, measure = roots_of_made, measurer(roots_of_made)
    for seed, value in enumerate((181.0, 183.5, 179.25)):
        measure("table1/E", "smoke", value, seed=seed, floor=22.0)
        remains(roots, "table1/E", "smoke", seed)
    measure("table1/D", "smoke", 192.0)
    measure("table1/A", "smoke", 230.0)
    with undrawn():
        return build("smoke", roots).folder
