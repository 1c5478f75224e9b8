"""A small workplace with records of a few rows, their curves and sample grids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from hdit_repro import jobs
from hdit_repro.files import write_text
from hdit_repro.records.layout import Roots, RunFolder


@pytest.fixture(autouse=True, scope="session")
def figures_drawn_elsewhere() -> Iterator[None]:
    """Figures have tests of their own and take seconds to draw; here an empty drawing stands for each."""

    def draw(out: Path, _records: object, names: Iterable[str], _ledger: object, kinds: Iterable[str]) -> None:
        for name, kind in product(names, kinds):
            write_text(out / f"{name}.{kind}", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hdit_repro.render.report.write.render_figures", draw)
        yield


@pytest.fixture(scope="session")
def remains() -> Callable[..., None]:
    """What a run leaves beside its record: a learning curve, whose last line is cut, and a grid of samples."""

    def leave(roots: Roots, name: str, scale: str, seed: int = 0) -> None:
        folder = RunFolder(roots, jobs.find(name, scale, seed).run, scale)
        lines = [json.dumps({"step": step, "loss": 1 / (1 + step)}) for step in range(1, 600)]
        write_text(folder.metrics, "\n".join([*lines, '{"step": 600, "lo']))
        folder.samples.mkdir(parents=True)
        Image.new("RGB", (64, 64), (seed * 40, 90, 160)).save(folder.grid)

    return leave
