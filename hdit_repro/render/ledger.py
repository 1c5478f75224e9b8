"""The one place where tables ask the ledger what the paper prints. No printed number lives in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hdit_repro import paper


class Printed(NamedTuple):
    """A printed cell: the value in the ledger's unit, and the text as printed ("6,341")."""

    value: int | float | str | None
    text: str


def cells(table: str) -> Mapping[str, Mapping[str, Printed]]:
    """A printed table's cells by run name ("table1/E") and column key ("gflop-256").

    Args:
        table: the ledger's name of the table, "table1".
    """
    found: dict[str, dict[str, Printed]] = {}
    for claim in paper.read():
        if claim.table == table and claim.run is not None and claim.column is not None:
            found.setdefault(claim.run, {})[claim.column] = Printed(claim.printed, claim.text.replace("n^2", "n²"))
    return found
