"""How a network's cost grows with the number of pixels, from counted costs and not from slopes. No torch.

Log-log slopes mislead, because the constant core dominates at small sizes; the coefficients of
cost = a + b n + c n^2 do not. The fit is exact rational arithmetic, so that it is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from hdit_repro.cost import at_resolution, count
from hdit_repro.spec.model import Model

DOUBLINGS = 5
"""Sizes at which costs are counted for the fit: a network's own, and others each twice the one before."""

SHARE = Fraction(1, 100)
"""A term counts when it makes up more than this part of the fitted cost at the largest size."""


class Growth(NamedTuple):
    """cost = constant + linear * n + quadratic * n^2, n in pixels, cost in MACs; `order` is 0, 1 or 2."""

    constant: float
    linear: float
    quadratic: float
    order: int

    @property
    def text(self) -> str:
        """As the paper prints it: "O(n)", "O(n²)"."""
        return ("O(1)", "O(n)", "O(n²)")[self.order]


def sides(model_spec: Model) -> tuple[int, ...]:
    """The sizes of a network's fit, in pixels a side."""
    return tuple(model_spec.resolution << doubling for doubling in range(DOUBLINGS))


def growth(model_spec: Model) -> Growth:
    """Fit the cost of a row as the resolution grows (`cost.at_resolution`).

    Raises:
        ValueError: a size that the network cannot take.
    """
    return fit([(side * side, count(at_resolution(model_spec, side), side).macs) for side in sides(model_spec)])


def fit(points: Sequence[tuple[int, int]]) -> Growth:
    """Least squares of the relative error over (n, cost) pairs, and the highest order that matters at the largest n."""
    rows = [[Fraction(n**power, cost) for power in range(3)] for n, cost in points]
    normal = [[sum((row[i] * row[j] for row in rows), Fraction(0)) for j in range(3)] for i in range(3)]
    target = [sum((row[i] for row in rows), Fraction(0)) for i in range(3)]
    terms = _solve(normal, target)
    largest = max(n for n, _ in points)
    total = sum(term * largest**power for power, term in enumerate(terms))
    heavy = [power for power, term in enumerate(terms) if abs(term) * largest**power > SHARE * total]
    constant, linear, quadratic = map(float, terms)
    return Growth(constant, linear, quadratic, max(heavy))


def _solve(matrix: list[list[Fraction]], target: list[Fraction]) -> list[Fraction]:
    """The solution of a small regular system, by Gauss and Jordan."""
    rows = [[*row, value] for row, value in zip(matrix, target, strict=True)]
    for column in range(len(rows)):
        pivot = next(index for index in range(column, len(rows)) if rows[index][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for index, row in enumerate(rows):
            if index != column:
                rows[index] = [value - row[column] * lead for value, lead in zip(row, rows[column], strict=True)]
    return [row[-1] for row in rows]
