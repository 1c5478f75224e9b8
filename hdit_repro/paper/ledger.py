"""All claims and the layout of the printed tables, read whole. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hdit_repro.errors import UserError, meant
from hdit_repro.paper.types import Claim, Table


@dataclass(frozen=True)
class Ledger:
    """All claims, in the order of the files, and the tables that they lie in, by id."""

    claims: tuple[Claim, ...]
    tables: dict[str, Table]

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims)

    @cached_property
    def by_id(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in self.claims}

    def claim(self, name: str) -> Claim:
        """The claim of that id.

        Raises:
            UserError: there is none; the nearest id is offered.
        """
        if name in self.by_id:
            return self.by_id[name]
        raise UserError(
            f"there is no claim called {name!r}",
            found=repr(name),
            expected="an id of `hdit-repro verify`",
            fix=meant(name, self.by_id, "`hdit-repro verify --json` lists all ids"),
        )
