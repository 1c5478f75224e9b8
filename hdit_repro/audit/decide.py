"""From a difference and its noise to a verdict. The rules, and their error rates, are stated here. No torch.

- reproduced: two one-sided tests at 5 % (TOST) say that ours lies within MARGIN of print: the 90 % interval of the
  difference lies inside it. Of rows whose true difference is the margin, at most 5 % are called reproduced.
- not reproduced: the difference is beyond noise (two-sided, 5 %) and not shown to be within the margin. Of rows whose
  true difference is none, at most 5 % are called not reproduced.
- inconclusive: neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

from hdit_repro.audit.noise import Spread

Outcome = Literal["reproduced", "not reproduced", "inconclusive"]

MARGIN = 0.05
"""Within which fraction of the smaller of ours and print the two count as the same: a factor, either way."""

LEVEL = 0.05
"""Error rate of each verdict."""

MOST_SEEDS = 1_000
"""Trainings up to which it is worked out how many would settle a question."""

RULE = (
    f"reproduced: equivalent within ±{100 * MARGIN:g} % of the smaller of the two (two one-sided tests, each at "
    f"{100 * LEVEL:g} %); "
    f"not reproduced: different beyond noise (two-sided, {100 * LEVEL:g} %) and not equivalent; inconclusive: neither. "
    "Print counts as one training with the same noise. Each row stands by itself: of ten that are the same as print, "
    f"one or more is called not reproduced in up to {100 * (1 - (1 - LEVEL) ** 10):.0f} % of cases"
)


class Difference(NamedTuple):
    """A difference of logarithms, its standard error, and the degrees of freedom of that."""

    log: float
    error: float
    dof: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided confidence interval."""
        if math.isinf(self.error):
            return -math.inf, math.inf
        half = quantile(0.5 + level / 2, self.dof) * self.error
        return self.log - half, self.log + half

    def p_value(self) -> float:
        """Of no difference, two-sided."""
        if not self.error or math.isinf(self.error):
            return float(self.log == 0 or bool(self.error))
        return 2 * tail(abs(self.log) / self.error, self.dof)


class Share(NamedTuple):
    """What one mean adds to the variance of a difference: its spread, and how many trainings it is a mean of."""

    spread: Spread
    trainings: int


def difference(log: float, shares: Sequence[Share]) -> Difference:
    """A difference between means, with Welch and Satterthwaite's degrees of freedom.

    Means that share one estimate of the noise share its error too, so that they count as one, whatever the numbers of
    samplings behind them.
    """
    parts: dict[tuple[float, str, str], float] = {}
    for spread, trainings in shares:
        parts[spread.estimate] = parts.get(spread.estimate, 0.0) + spread.sd**2 / trainings
    total = sum(parts.values())
    doubt = sum(part**2 / dof for (dof, _, _), part in parts.items())
    return Difference(log, math.sqrt(total), total**2 / doubt if doubt and not math.isinf(total) else math.inf)


def verdict(found: Difference) -> Outcome:
    """The verdict on a difference from print."""
    low, high = found.interval(1 - 2 * LEVEL)
    if -math.log1p(MARGIN) < low and high < math.log1p(MARGIN):
        return "reproduced"
    return "not reproduced" if found.p_value() < LEVEL else "inconclusive"


def order_verdict(found: Difference, adjusted: float) -> Outcome:
    """The verdict on a claim that a logarithm difference is negative, by a p-value corrected for multiplicity."""
    if adjusted >= LEVEL:
        return "inconclusive"
    return "reproduced" if found.log < 0 else "not reproduced"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: the chance of any false verdict among all stays at LEVEL."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def fewest(settled: Callable[[int], bool], least: int) -> int | None:
    """The smallest number of trainings from `least` to MOST_SEEDS that settles a question; None where none does.

    One by one: where noise begins to be estimated, more trainings can settle less.
    """
    return next((number for number in range(least, MOST_SEEDS + 1) if settled(number)), None)


@lru_cache(maxsize=4096)
def quantile(probability: float, dof: float) -> float:
    """Of Student's t; of the normal distribution where `dof` is infinite."""
    if math.isinf(dof):
        return NormalDist().inv_cdf(probability)
    from scipy.special import stdtrit

    return float(stdtrit(dof, probability))


def tail(value: float, dof: float) -> float:
    """The chance of more than `value` under Student's t, or the normal distribution where `dof` is infinite."""
    if math.isinf(dof):
        return math.erfc(value / math.sqrt(2)) / 2
    from scipy.special import stdtr

    return float(stdtr(dof, -value))
