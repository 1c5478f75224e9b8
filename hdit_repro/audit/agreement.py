"""When a computed value is the printed one. No torch."""

from __future__ import annotations

import json
from typing import Any

from hdit_repro.audit.computed import Computed, Value, say
from hdit_repro.errors import UserError
from hdit_repro.paper.types import Above, Below, Between, Claim, Exact, Near, Round

SLACK = 1e-9
"""Of half a printed digit: what binary fractions may be off by."""


def agrees(claim: Claim, computed: Computed) -> bool:
    """Whether a claim stands. A check that is true or not by itself is held against no print.

    Raises:
        UserError: a number is asked for, and the print or the computed value is none.
    """
    if computed.holds is not None:
        return computed.holds
    agree = claim.agree
    if isinstance(agree, Exact):
        return _same(claim.value, computed)
    value = _number(computed.value, "the computed value", claim)
    if isinstance(agree, Between):
        return agree.low <= value <= agree.high
    printed = _number(claim.value, "the print", claim)
    match agree:
        case Round(to=to):
            return abs(value - printed) <= to / 2 * (1 + SLACK)
        case Below():
            return value < printed
        case Above():
            return value > printed
        case Near(within=within):
            return abs(value / printed - 1) <= within


def rule(claim: Claim) -> str:
    """What the ledger asks of the computed value, in words."""
    printed = say(claim.value)
    match claim.agree:
        case Exact():
            return f"must be {printed}"
        case Round(to=to):
            return f"rounded to {say(to)}, must be {printed}"
        case Below():
            return f"must be less than {printed}"
        case Above():
            return f"must be more than {printed}"
        case Near(within=within):
            return f"must be within {100 * within:g}% of {printed}"
        case Between(low=low, high=high):
            return f"must lie between {say(low)} and {say(high)}"


def _same(printed: object, computed: Computed) -> bool:
    """Equal, number for number; a list of equal members is the same as that member."""
    value = computed.value if computed.members is None else list(computed.members)
    asked, found = _read(printed), _read(value)
    if isinstance(found, list) and not isinstance(asked, list):
        return bool(found) and all(_read(member) == asked for member in found)
    return bool(asked == found)


def _read(value: object) -> Any:
    """Words that are a list, a number or a truth as that: "[1e-3, 1e3]" is a list of two numbers."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _number(value: Value | None, what: str, claim: Claim) -> int | float:
    if isinstance(value, int | float):
        return value
    raise UserError(
        f"{what} of claim {claim.id!r} is no number",
        found=f"{value!r}, with {type(claim.agree).__name__.lower()} at {claim.file}:{claim.line}",
        expected="a number, or an agreement that compares words",
        fix="print a number there, or give the claim the check of words",
    )
