"""What a check comes to, and how numbers are written where a computation is shown. No torch."""

from __future__ import annotations

import math
from typing import NamedTuple

from hdit_repro.errors import UserError

Value = int | float | str


class Impossible(UserError):
    """The job is such that a check has no value: it contradicts the print, and is no mistake of the ledger's."""


class Computed(NamedTuple):
    """The value that is held against the print, and the computation, line by line.

    Attributes:
        value: in the unit of the claim; a list is written as the paper writes it, "[2, 11]".
        steps: the computation with its numbers, as `verify --explain` shows it.
        holds: set by the checks that are true or not by themselves; None where the print decides.
        members: the members of a list, where the value is one.
        remark: where the value comes from, where a reader should know.
    """

    value: Value
    steps: tuple[str, ...]
    holds: bool | None = None
    members: tuple[Value, ...] | None = None
    remark: str = ""


def say(value: object) -> str:
    """A value for a reader: 31,369,003,008 and 657.627 and [2, 11] and dpmpp_3m_sde."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{int(value):,}" if math.isfinite(value) and value == int(value) else f"{value:,.6g}"
    if isinstance(value, tuple | list):
        return listed(tuple(value))
    return str(value)


def in_percent(share: float) -> str:
    """Two digits, and no exponent where that is readable: 130 %, 4.2 %, 0.0012 %."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def listed(members: tuple[object, ...]) -> str:
    """A list as the paper prints it: [384, 768]."""
    return f"[{', '.join(say(member).replace(',', '') for member in members)}]"
