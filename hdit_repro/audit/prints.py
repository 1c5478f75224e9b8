"""Checks that compare print with print: two numbers of the paper, or a number with its source. No torch."""

from __future__ import annotations

from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed, say
from hdit_repro.errors import UserError
from hdit_repro.paper import checks


def order(check: checks.Order, bench: Bench) -> Computed:
    """Whether one printed number is below another.

    Raises:
        UserError: one of them is no number.
    """
    numbers, steps = [], []
    for name in (check.lower, check.higher):
        claim = bench.ledger.claim(name)
        if not isinstance(claim.printed, int | float):
            raise UserError(
                "an order compares numbers",
                found=f"claim {name!r} prints {claim.text!r}",
                expected="claims that print numbers",
                fix="correct the order in tables/paper/",
            )
        numbers.append(claim.printed)
        steps.append(f"{name} ({claim.place}) prints {claim.text}")
    lower, higher = numbers
    sign = "<" if lower < higher else ">" if lower > higher else "="
    value = f"{say(lower)} {sign} {say(higher)}"
    return Computed(value, (*steps, value), holds=lower < higher, remark="by the printed numbers")


def cited(check: checks.Cited, _bench: Bench) -> Computed:
    """What the source says."""
    return Computed(check.value, (f"the source says {say(check.value)}: {check.source}",))
