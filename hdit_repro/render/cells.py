"""One cell of a table: the value that machines read and the text that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Value = float | int | str | bool | None

NOT_RUN = "not run"
NO_JOB = "–"
"""In our columns, where a row is another paper's and has no job."""
MARK = "†"
"""Beside a number where the printed and the computed one disagree."""


class Cell(NamedTuple):
    """`value` goes into the csv, `text` into markdown and LaTeX. `extra` are further csv columns, by name.

    `rank` is 1 for the best measured value of a column and 2 for the second best, 0 otherwise; `compare` is what the
    ranks are made from. `remarks` are sentences for the notes under the table.
    """

    value: Value
    text: str
    extra: Mapping[str, Value] = MappingProxyType({})
    compare: float | None = None
    rank: int = 0
    remarks: tuple[str, ...] = ()


EMPTY = Cell(None, "")
ABSENT = Cell(None, NO_JOB)


def fixed(value: float, digits: int) -> str:
    """A number with thousands separated: 6340.6 -> "6,340.6"."""
    return f"{value:,.{digits}f}"


def deviation(value: float, digits: int) -> str:
    """How far values scatter: "0.20", and "<0.01" where the digits shown would make it none."""
    return fixed(value, digits) if round(value, digits) else f"<{fixed(10**-digits, digits)}"


def significant(value: float, digits: int = 4) -> str:
    """So many significant digits, without an exponent where that is readable: 12,346 and 0.001235."""
    shown = f"{value:.{digits}g}"
    return fixed(value, 0) if "e+" in shown and abs(value) < 1e15 else shown


def hours(value: float) -> str:
    """GPU-hours: 824.7, and two digits of what one decimal would make nothing: 0.047."""
    return f"{value:,.1f}" if value >= 0.05 or not value else f"{value:.2g}"


def decimals(value: float, least: int) -> int:
    """Decimals at which three digits of a number show, and `least` at least: 0.00123, a kernel distance, takes five."""
    return max(least, 2 - math.floor(math.log10(abs(value)))) if value else least


def signed(value: float, digits: int) -> str:
    """A difference with its sign: "+0.16", "−1.20"."""
    shown = round(value, digits)
    return f"{'+' if shown > 0 else '−' if shown else ''}{fixed(abs(value), digits)}"


def ranked(cells: list[Cell], better: Literal["lower", "higher"] = "lower") -> list[Cell]:
    """The cells of one column with the best two marked; ties share a rank.

    Nothing is marked unless two cells or more can be compared.
    """
    values = sorted({cell.compare for cell in cells if cell.compare is not None}, reverse=better == "higher")
    if len(values) < 2:
        return cells
    ranks = {values[0]: 1, values[1]: 2}
    return [cell if cell.compare is None else cell._replace(rank=ranks.get(cell.compare, 0)) for cell in cells]
