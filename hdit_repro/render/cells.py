"""One cell of a table: the value that machines read and the text that people read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Value = float | int | str | bool | None

NOT_RUN = "not run"
MARK = "†"
"""Beside a computed value that does not round to the printed one."""


class Cell(NamedTuple):
    """`value` goes into the csv, `text` into markdown and LaTeX. `extra` are further csv columns, by name.

    `rank` is 1 for the best measured value of a column and 2 for the second best, 0 otherwise; `compare` is what the
    ranks are made from.
    """

    value: Value
    text: str
    extra: Mapping[str, Value] = MappingProxyType({})
    compare: float | None = None
    rank: int = 0


EMPTY = Cell(None, "")


def fixed(value: float, digits: int) -> str:
    """A number with thousands separated: 6340.6 -> "6,340.6"."""
    return f"{value:,.{digits}f}"


def significant(value: float) -> str:
    """Four significant digits, without an exponent where that is readable."""
    return f"{value:.4g}"


def signed(value: float, digits: int) -> str:
    """A difference with its sign: "+0.16", "−1.20"."""
    return fixed(value, digits) if value == 0 else f"{'+' if value > 0 else '−'}{fixed(abs(value), digits)}"


def ranked(cells: list[Cell]) -> list[Cell]:
    """The cells of one column with the best two marked, smaller being better; ties share a rank.

    Nothing is marked unless two cells or more can be compared.
    """
    values = sorted({cell.compare for cell in cells if cell.compare is not None})
    if len(values) < 2:
        return cells
    ranks = {values[0]: 1, values[1]: 2}
    return [cell if cell.compare is None else cell._replace(rank=ranks.get(cell.compare, 0)) for cell in cells]
