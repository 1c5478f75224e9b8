"""How a ledger file is written: the shapes that TOML is read into before claims are made of it. No torch."""

from __future__ import annotations

from typing import Any

import msgspec

from hdit_repro.paper.types import Agreement, Expectation, Needs, Printed, Unit
from hdit_repro.spec.base import Spec


class Traits(Spec, frozen=True, kw_only=True):
    """What a claim can have, and what it may inherit: from its table, its column, its row, in this order.

    `check` is read when the claim is made, since the claim's run belongs to it.
    """

    unit: Unit | None = None
    agree: Agreement | None = None
    check: dict[str, Any] | None = None
    needs: Needs | None = None
    run: str | None = None
    method: str | None = None
    cites: str | None = None
    samples: int | None = None
    expect: Expectation | None = None
    reason: str | None = None
    citation: str | None = None
    note: str | None = None
    means: Printed = None
    printed: Printed = None


class RawColumn(Traits, frozen=True, kw_only=True):
    title: str


class RawRow(Traits, frozen=True, kw_only=True):
    """`cells` holds the printed text by column; `cell` adds to single cells of the row what only they have.

    `label` is the row's first column as printed; `name` is what the row is called in a claim's place, where that is
    shorter.
    """

    key: str
    label: str
    cells: dict[str, str]
    cell: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    name: str = ""
    group: str = ""


class RawTable(Traits, frozen=True, kw_only=True):
    id: str
    number: int
    title: str
    column: dict[str, RawColumn]
    row: tuple[RawRow, ...]


class RawClaim(Traits, frozen=True, kw_only=True):
    """A number outside the tables."""

    id: str
    place: str
    text: str


class RawFile(Spec, frozen=True, kw_only=True):
    edition: int
    table: tuple[RawTable, ...] = ()
    claim: tuple[RawClaim, ...] = ()


INHERITED = tuple(Traits.__struct_fields__)


def merge(layers: tuple[Traits, ...]) -> dict[str, Any]:
    """The traits of one claim: later layers win; of `check` and `needs`, whichever the latest layer names."""
    merged: dict[str, Any] = dict.fromkeys(INHERITED)
    for layer in layers:
        given = {name: value for name in INHERITED if (value := getattr(layer, name)) is not None}
        if "check" in given or "needs" in given:
            merged["check"] = merged["needs"] = None
        merged |= given
    return merged
