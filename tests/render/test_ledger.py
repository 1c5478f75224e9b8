"""The tables' declarations against the ledger as it is."""

from __future__ import annotations

import pytest

from hdit_repro import jobs, paper
from hdit_repro.render.columns import Difference, FromLedger
from hdit_repro.render.costs import Counted
from hdit_repro.render.definitions import TABLES
from hdit_repro.render.ledger import claims_of, shown
from hdit_repro.render.settled import Doubted, Settled, Spent

LEDGER = paper.read()
PRINTED_TABLES = [name for name, table in TABLES.items() if table.ledger]
PRINTED = FromLedger | Counted | Difference | Settled | Doubted | Spent


@pytest.mark.parametrize("name", PRINTED_TABLES)
def test_every_printed_column_is_in_the_ledger_for_every_row(name: str) -> None:
    table = TABLES[name]
    claims = claims_of(LEDGER, table.ledger)
    wanted = {c.source.column for c in table.columns if isinstance(c.source, PRINTED)}
    for row in LEDGER.tables[table.ledger].rows:
        assert wanted <= set(claims[row.key]), row.key


def test_every_printed_table_and_column_is_rendered() -> None:
    """Nothing that the ledger has as a table is left out of tables/."""
    shown_columns: dict[str, set[str]] = {}
    for table in (TABLES[name] for name in PRINTED_TABLES):
        found = {c.source.column for c in table.columns if isinstance(c.source, FromLedger | Doubted)}
        shown_columns.setdefault(table.ledger, set()).update(found)
    assert shown_columns == {name: {c.key for c in table.columns} for name, table in LEDGER.tables.items()}


@pytest.mark.parametrize("name", PRINTED_TABLES)
def test_every_run_of_a_table_is_a_job(name: str) -> None:
    for row in LEDGER.tables[TABLES[name].ledger].rows:
        if row.run:
            assert jobs.find(row.run).run


def test_a_cell_as_printed() -> None:
    claims = claims_of(LEDGER, "table1")
    assert (claims["E"]["fid"].printed, shown(claims["E"]["fid"])) == (27.74, "27.74")
    assert (claims["R1"]["gflop-512"].printed, shown(claims["R1"]["gflop-512"])) == (6341, "6,341")
    assert shown(claims["R1"]["complexity"]) == "O(n²)"
