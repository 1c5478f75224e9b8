"""From print to number: 6,341 and 117M and 5e-4 and 15 hours. No torch."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

NUMBER = re.compile(
    r"(?P<sign>[-−]?)(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<fraction>\.\d+)?(?:e(?P<exponent>[+-]?\d+))?"
    r"(?P<factor>[kMB])?(?:\s*%|\s+[A-Za-z]+)?"
)
FACTORS = {"k": 3, "M": 6, "B": 9}
DASHES = ("-", "–", "—")


class Number(NamedTuple):
    """A printed number and the value of its last printed digit: 1.8B is 1800000000 to the step 100000000."""

    value: int | float
    step: float


def parse(text: str) -> Number | None:
    """The number that a print shows, with a percent sign or one unit word behind it at most; None if it shows none."""
    match = NUMBER.fullmatch(text.strip())
    if not match:
        return None
    exponent = int(match["exponent"] or 0) + FACTORS.get(match["factor"], 0)
    fraction = match["fraction"] or ""
    exact = Decimal(match["digits"].replace(",", "") + fraction).scaleb(exponent)
    if match["sign"]:
        exact = -exact
    whole = exact == exact.to_integral_value() and (not fraction or bool(match["factor"]))
    step = float(Decimal(1).scaleb(exponent - max(len(fraction) - 1, 0)))
    return Number(int(exact) if whole else float(exact), step)


def is_list(text: str) -> bool:
    """Whether a print is a list, as in Table 6: [2, 11]."""
    return text.startswith("[") and text.endswith("]")
