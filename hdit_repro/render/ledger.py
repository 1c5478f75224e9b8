"""The one place where tables ask the ledger what the paper prints. No printed number lives in Python."""

from __future__ import annotations

from collections.abc import Mapping

from hdit_repro.paper import Claim, Ledger

Claims = Mapping[str, Mapping[str, Claim]]


def claims_of(ledger: Ledger, table: str) -> Claims:
    """The cells of a printed table by row key ("E") and column key ("gflop-256").

    Args:
        table: the ledger's name of the table, "table1".
    """
    found: dict[str, dict[str, Claim]] = {}
    for claim in ledger:
        if claim.table == table and claim.row is not None and claim.column is not None:
            found.setdefault(claim.row, {})[claim.column] = claim
    return found


def shown(claim: Claim) -> str:
    """The print as tables show it: O(n^2) is O(n²)."""
    return claim.text.replace("n^2", "n²")
