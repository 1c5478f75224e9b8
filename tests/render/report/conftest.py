"""Reports without their figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest

from hdit_repro.files import write_text


@pytest.fixture(autouse=True, scope="module")
def figures_drawn_elsewhere() -> Iterator[None]:
    """Figures have tests of their own and take seconds to draw; here an empty drawing stands for each."""

    def draw(
        out: Path, _records: object, names: Iterable[str], _ledger: object, kinds: Iterable[str], _scale: str
    ) -> None:
        for name, kind in product(names, kinds):
            write_text(out / f"{name}.{kind}", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hdit_repro.render.report.write.render_figures", draw)
        yield
