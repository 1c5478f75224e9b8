"""The tables' declarations against the ledger as it is."""

from __future__ import annotations

import pytest

from hdit_repro import jobs
from hdit_repro.render import ledger
from hdit_repro.render.columns import Counted, Difference, FromLedger
from hdit_repro.render.definitions import TABLES


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_column_is_in_the_ledger_for_every_row(name: str) -> None:
    table = TABLES[name]
    cells = ledger.cells(table.ledger)
    wanted = {c.source.column for c in table.columns if isinstance(c.source, FromLedger | Counted | Difference)}
    for job in jobs.load(table.experiment):
        assert wanted <= set(cells[job.name]), job.name


def test_a_cell_as_printed() -> None:
    cells = ledger.cells("table1")
    assert cells["table1/E"]["fid"] == (27.74, "27.74")
    assert cells["table1/R1"]["gflop-512"] == (6341, "6,341")
    assert cells["table1/R1"]["complexity"].text == "O(n²)"
