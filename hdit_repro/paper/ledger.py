"""All claims and the layout of the printed tables, read whole. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hdit_repro.errors import pick
from hdit_repro.paper.types import Claim, Table


@dataclass(frozen=True)
class Ledger:
    """Claims by id, in the order of the files, and the tables that they lie in by id."""

    claims: dict[str, Claim]
    tables: dict[str, Table]

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims.values())

    def __len__(self) -> int:
        return len(self.claims)

    def claim(self, name: str) -> Claim:
        """The claim of that id.

        Raises:
            UserError: there is none; the nearest id is offered.
        """
        return pick(self.claims, name, kind="claim")

    def cell(self, table: str, row: str, column: str) -> Claim:
        """The claim of a table's cell.

        Raises:
            UserError: there is none.
        """
        return self.claim(f"{table}/{row}/{column}")
