"""Does our order of a table's rows agree with the paper's? Kendall's tau, with an interval. No torch.

The interval is of the tau that values without luck would have: each pair of rows that either side's noise could have
turned round may agree or not. Values drawn again with their noise would count luck twice: of two equal orders of ten
rows that lie close together, an interval made of them almost never holds the true 1. Noise pooled over repeats counts
as known, by the normal quantile, so that of few repeats the interval is somewhat too narrow. Where the noise is not
known, the rows count as a sample of all that could have been compared, and the interval is Fieller, Hartley and
Pearson's (1957) for tau: -1 to 1 below five rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.computed import in_percent
from hdit_repro.audit.measured import Measurements
from hdit_repro.paper import Claim, Ledger
from hdit_repro.records.rows import how

NORMAL = NormalDist().inv_cdf(0.975)


class Place(NamedTuple):
    """A row's two values in logarithms with their standard errors: ours, and print."""

    row: str
    ours: float
    ours_error: float
    printed: float
    printed_error: float


class Rank(NamedTuple):
    """Kendall's tau-b between our order and print's over some rows of a table.

    Attributes:
        low, high: the 95 % interval.
        chance: how often an order by lot agrees as well or better; None where values are tied.
    """

    table: str
    rows: tuple[str, ...]
    tau: float
    low: float
    high: float
    chance: float | None
    basis: str

    def words(self) -> str:
        """Kendall's tau 0.87 ..."""
        lot = "" if self.chance is None else f"; an order by lot does as well in {in_percent(self.chance)} of cases"
        return (
            f"Kendall's tau between our order and the paper's over {len(self.rows)} rows ({', '.join(self.rows)}): "
            f"{_signed(self.tau)}, 95 % interval {_signed(self.low)} to {_signed(self.high)} {self.basis}{lot}"
        )


def _signed(value: float) -> str:
    """Two decimals: "0.87", "−0.07"."""
    return f"{value:.2f}".replace("-", "−")


def rank(table: str, places: Sequence[Place], basis: str) -> Rank:
    """The rank correlation of two rows or more.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(places) < 2:
        raise ValueError(f"an order has two rows or more, and {len(places)} are given")
    ours, printed = [place.ours for place in places], [place.printed for place in places]
    value = tau(ours, printed)
    unknown = any(math.isinf(place.ours_error) for place in places)
    low, high = of_sample(value, len(places)) if unknown else under_noise(places)
    tied = len(set(ours)) < len(ours) or len(set(printed)) < len(printed)
    return Rank(
        table=table,
        rows=tuple(place.row for place in places),
        tau=value,
        low=low,
        high=high,
        chance=None if tied else by_lot(len(places), value),
        basis=basis,
    )


def under_noise(places: Sequence[Place]) -> tuple[float, float]:
    """Tau if every pair that luck could have turned round, by a two-sided test at 5 %, disagreed, and if it agreed."""
    low = high = 0
    pairs = list(combinations(places, 2))
    for one, other in pairs:
        ours, printed = one.ours - other.ours, one.printed - other.printed
        told = _beyond(ours, one.ours_error, other.ours_error)
        told = told and _beyond(printed, one.printed_error, other.printed_error)
        sign = (ours * printed > 0) - (ours * printed < 0)
        low += sign if told else -1
        high += sign if told else 1
    return low / len(pairs), high / len(pairs)


def _beyond(difference: float, *errors: float) -> bool:
    return abs(difference) > NORMAL * math.hypot(*errors)


def of_sample(value: float, rows: int) -> tuple[float, float]:
    """95 % interval of tau where the rows are a sample: variance 0.437 / (rows - 4) of its arctanh."""
    if rows < 5:
        return -1.0, 1.0
    most = 1 - 2 / (rows * (rows - 1))  # of a perfect order too, half an exchange remains open
    value = min(max(value, -most), most)
    half = NORMAL * math.sqrt(0.437 / (rows - 4))
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b; 0 where either side is all ties."""
    agree = ties_one = ties_other = 0
    pairs = list(combinations(range(len(one)), 2))
    for i, j in pairs:
        left, right = one[i] - one[j], other[i] - other[j]
        ties_one += left == 0
        ties_other += right == 0
        agree += (left * right > 0) - (left * right < 0)
    both = (len(pairs) - ties_one) * (len(pairs) - ties_other)
    return agree / math.sqrt(both) if both else 0.0


def by_lot(rows: int, value: float) -> float:
    """The chance that a random order of so many rows has a tau of `value` or more.

    By counting permutations by inversions: of k + 1 rows, the new one makes 0 to k inversions.
    """
    counts = [1]
    for size in range(2, rows + 1):
        wider = [0] * (len(counts) + size - 1)
        for inversions, count in enumerate(counts):
            for new in range(size):
                wider[inversions + new] += count
        counts = wider
    pairs = rows * (rows - 1) // 2
    most = round(pairs * (1 - value) / 2)  # tau = 1 - 2 inversions / pairs
    return sum(counts[: most + 1]) / math.factorial(rows)


def on_tables(ledger: Ledger, measurements: Measurements) -> list[Rank]:
    """The rank correlation by FID of every printed table with two measured rows or more; of equal rows, the first.

    Rows of which print counts other numbers of samples have other metrics, and are ranked among themselves, as are rows
    that were measured in one way where a table's were measured in several.
    """
    if not measurements:
        return []
    found: dict[tuple[str, ...], Rank] = {}
    for name in sorted(ledger.tables, key=lambda name: ledger.tables[name].edition):
        claims = [claim for claim in ledger if claim.table == name and claim.column == "fid" and claim.run]
        alike: dict[tuple[object, ...], list[tuple[Place, str]]] = {}
        for claim in claims:
            if placed := _place(claim, measurements):
                alike.setdefault(placed[0], []).append(placed[1:])
        for places in alike.values():
            if len(places) >= 2:
                words = next((said for place, said in places if math.isinf(place.ours_error)), places[0][1])
                one = rank(name, [place for place, _ in places], words)
                found.setdefault(one.rows, one)
    return list(found.values())


def _place(claim: Claim, measurements: Measurements) -> tuple[tuple[object, ...], Place, str] | None:
    """The metric that a row is ranked by and how it was measured, its place, and what the noise rests on."""
    if claim.run is None or not isinstance(claim.printed, int | float) or claim.printed <= 0:
        return None
    run = jobs.find(claim.run, measurements.scale).run
    metric = measurements.metric(claim, run)
    ours = measurements.replicates(run, metric) if metric else None
    if ours is None:
        return None
    noise, row = measurements.noise(run, metric), run.row_id
    spread = noise.of(row, ours.samplings)
    error = spread.sd / math.sqrt(ours.seeds)
    place = Place(claim.row or claim.run, ours.mean, error, math.log(claim.printed), noise.of(row).sd)
    words = f"under noise of {spread.brief()}"
    measured = (metric, *how(measurements.records(run)[0]))
    return measured, place, "over rows, since noise is not known at this scale" if spread.unknown else words
