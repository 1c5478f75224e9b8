"""A row measured several times: the logarithms of one metric, by training seed and sampling seed. No torch.

Luck moves a Fréchet distance by a fraction of itself, so that everything here is in logarithms, where a coefficient of
variation is a standard deviation and rows of different size can share one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from statistics import fmean, variance
from typing import NamedTuple

from hdit_repro.records.schema import Record


class Replicates(NamedTuple):
    """Logarithms of a row's metric: training seed -> one value a sampling of that network.

    `trainings` are the ids of the networks behind them, which rows that differ in sampling or evaluation alone share.
    """

    logs: Mapping[int, tuple[float, ...]]
    trainings: frozenset[str] = frozenset()

    @property
    def seeds(self) -> int:
        """How many trainings there are."""
        return len(self.logs)

    @property
    def means(self) -> dict[int, float]:
        """One value a training: the mean over its samplings."""
        return {seed: fmean(values) for seed, values in self.logs.items()}

    @property
    def mean(self) -> float:
        """The mean over trainings, each counted once."""
        return fmean(self.means.values())

    @property
    def samplings(self) -> float:
        """Samplings a training: the harmonic mean, by which sampling noise in the mean falls."""
        return self.seeds / sum(1 / len(values) for values in self.logs.values())


def replicates(records: Iterable[Record], metric: str) -> Replicates | None:
    """The repetitions of a row under one protocol; None where no record has the metric, or one has no positive value of
    it, as a kernel distance may: the others alone would be those that luck had raised."""
    logs: dict[int, list[float]] = {}
    trainings = set()
    for record in records:
        found = record.metrics.get(metric)
        if found is not None and found.value <= 0:
            return None
        if found is not None:
            logs.setdefault(record.seed, []).append(math.log(found.value))
            trainings.add(record.training_id)
    whole = {seed: tuple(values) for seed, values in logs.items()}
    return Replicates(whole, frozenset(trainings)) if whole else None


def pooled(groups: Iterable[Collection[float]]) -> tuple[float, int]:
    """The standard deviation within groups, pooled over them, and its degrees of freedom; zeros where none has two."""
    repeated = [group for group in groups if len(group) > 1]
    dof = sum(len(group) - 1 for group in repeated)
    squares = sum((len(group) - 1) * variance(group) for group in repeated)
    return math.sqrt(squares / dof) if dof else 0.0, dof


SHARED = "both are drawn from the same networks, whose luck the interval counts as that of two"
"""What is said of a difference that is not paired, of rows that share trainings."""


def share(one: Replicates, other: Replicates) -> bool:
    """Whether two rows share a network, and so its luck: they differ in sampling or evaluation alone."""
    return not one.trainings.isdisjoint(other.trainings)


def percent(log: float) -> float:
    """A difference of logarithms as a change in percent."""
    return 100 * math.expm1(log)


def change(log: float) -> str:
    """The same in words: "+1.2 %", "−3.4 %", from 1,000 % on "+24,321 %"; where one decimal would make nothing of it,
    "+0.012 %", and "0 %" of what is less still."""
    found = percent(log)
    digits = 0 if found >= 1000 else 1 if abs(found) >= 0.05 else 3
    return f"{found:+,.{digits}f} %".replace("-", "−") if round(found, digits) else "0 %"


def between(low: float, high: float) -> str:
    """Two ends of an interval of changes in words: "+1.2 % to +3.4 %"; of one without width, "+1.2 % at both ends"."""
    ends = change(low), change(high)
    return f"{ends[0]} at both ends" if ends[0] == ends[1] else " to ".join(ends)
