"""Claims of order ("B2 beats B1"): tested on our measurements, corrected for how many are tested. No torch."""

from __future__ import annotations

import math
from statistics import fmean, variance
from typing import NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.bills import Bills
from hdit_repro.audit.decide import (
    LEVEL,
    Difference,
    Share,
    difference,
    fewest,
    holm,
    order_verdict,
)
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.noise import Spread, said
from hdit_repro.audit.replicates import SHARED, Replicates, between, change, share
from hdit_repro.audit.verdicts import Verdict
from hdit_repro.errors import counted
from hdit_repro.jobs import Job
from hdit_repro.paper import Ledger
from hdit_repro.paper.checks import Order
from hdit_repro.records.lint import difference as measured_otherwise
from hdit_repro.records.rows import how

PAIRS = 10
"""Training seeds that two rows must share, and have no others beside, for the paired test.

With fewer, their differences have so few degrees of freedom that the test finds less than Welch's with pooled noise,
unless the seeds share most of their luck: at five, a claim that four seeds had settled was open again.
"""

LEAST_P = 1e-4
"""The least chance that is said: smaller ones hang on the far tails of a distribution that nobody has seen."""

ORDER_RULE = (
    f"claims of order: a two-sided test at {100 * LEVEL:g} % on the difference of logarithms, corrected by Holm's "
    f"method for all distinct pairs tested; paired by training seed from {PAIRS} shared seeds on, Welch's with pooled "
    "noise below; reproduced: different and in the claimed order; not reproduced: different and in the other; "
    "inconclusive: not different"
)


class Pair(NamedTuple):
    """Two rows of which `lower` is claimed to have the smaller number of a metric, with their test.

    `shared` is whether both are drawn from the same networks. `otherwise` names in what the two were measured
    differently: such numbers are not tested against each other.
    """

    lower: Job
    higher: Job
    metric: str
    found: Difference
    spreads: tuple[Spread, Spread]
    seeds: tuple[int, int]
    paired: bool
    shared: bool
    otherwise: str


def on_orders(ledger: Ledger, measurements: Measurements, bills: Bills) -> dict[str, Verdict]:
    """The verdict on each claim of order of which both sides are measured, by the claim's id; tested together."""
    if not measurements:
        return {}
    pairs = {
        claim.id: pair
        for claim in ledger
        if isinstance(claim.check, Order) and (pair := _pair(claim.check, ledger, measurements)) is not None
    }
    distinct: dict[tuple[str, ...], Pair] = {}
    for pair in pairs.values():
        if not pair.otherwise:
            distinct.setdefault(_name(pair), pair)
    adjusted = dict(zip(distinct, holm([pair.found.p_value() for pair in distinct.values()]), strict=True))
    return {
        name: _untested(pair) if pair.otherwise else _verdict(pair, adjusted[_name(pair)], len(distinct), bills)
        for name, pair in pairs.items()
    }


def _name(pair: Pair) -> tuple[str, ...]:
    """What is tested: two rows, in either order, by one metric."""
    return (pair.metric, *sorted((pair.lower.run.row_id, pair.higher.run.row_id)))


def _pair(check: Order, ledger: Ledger, measurements: Measurements) -> Pair | None:
    claims = [ledger.claim(name) for name in (check.lower, check.higher)]
    if any(claim.run is None for claim in claims):
        return None
    lower, higher = (jobs.find(claim.run, measurements.scale) for claim in claims if claim.run)
    metrics = [measurements.metric(claim, job.run) for claim, job in zip(claims, (lower, higher), strict=True)]
    sides = [measurements.replicates(job.run, name) for job, name in zip((lower, higher), metrics, strict=True)]
    one, other = sides
    if one is None or other is None or metrics[0] != metrics[1]:
        return None
    left, right = (
        measurements.spread(job.run, metrics[0], side.samplings) for job, side in ((lower, one), (higher, other))
    )
    spreads = (left, right)
    found, paired = compare(one, other, spreads)
    records = [measurements.records(job.run)[0] for job in (lower, higher)]
    otherwise = measured_otherwise(*records) if how(records[0]) != how(records[1]) else ""
    return Pair(
        lower, higher, metrics[0], found, spreads, (one.seeds, other.seeds), paired, share(one, other), otherwise
    )


def compare(one: Replicates, other: Replicates, spreads: tuple[Spread, Spread]) -> tuple[Difference, bool]:
    """One row less another in logarithms, and whether the test is the paired one.

    Which test it is depends on the seeds alone and not on what was measured, unless all pairs differ by the same, which
    says nothing of luck.
    """
    left, right = one.means, other.means
    if left.keys() == right.keys() and len(left) >= PAIRS:
        steps = [left[seed] - right[seed] for seed in left]
        if square := variance(steps):
            return Difference(fmean(steps), math.sqrt(square / len(steps)), len(steps) - 1), True
    shares = [Share(spread, row.seeds) for spread, row in zip(spreads, (one, other), strict=True)]
    return difference(one.mean - other.mean, shares), False


def _untested(pair: Pair) -> Verdict:
    words = f"inconclusive: {pair.lower.name} and {pair.higher.name} were measured differently ({pair.otherwise})"
    return Verdict("inconclusive", words)


def _verdict(pair: Pair, adjusted: float, tested: int, bills: Bills) -> Verdict:
    outcome = order_verdict(pair.found, adjusted)
    if math.isinf(pair.found.error):
        away = f"{pair.lower.name} is {change(pair.found.log)} from {pair.higher.name}"
        words = f"{outcome}: {away}; noise {said(pair.spreads)}"
        return Verdict(outcome, words)
    low, high = pair.found.interval()
    test = "paired by seed" if pair.paired else "Welch"
    basis = f"spread of {pair.seeds[0]} paired differences" if pair.paired else f"noise {said(pair.spreads)}"
    if pair.shared and not pair.paired:
        basis = f"{basis}; {SHARED}"
    words = (
        f"{outcome}: {pair.lower.name} is {change(pair.found.log)} from {pair.higher.name} (95 % interval "
        f"{between(low, high)}, {test}, n = {pair.seeds[0]} and {pair.seeds[1]}, "
        f"{_p_words(adjusted)} after Holm over {tested}); {basis}"
    )
    if outcome == "inconclusive":
        more, settled = _more(pair, tested), "too small to settle"
        if more is not None:
            hours = bills.many_of((pair.lower, pair.higher), more)
            seeds = f"{counted(more, 'more seed')} a side"
            settled = f"{seeds}: {hours} would settle it if the difference stays"
        words = f"{words}; {settled}"
    return Verdict(outcome, words)


def _p_words(value: float) -> str:
    """p = 0.012; what is less than the model of noise can tell is not written out."""
    return f"p = {value:.2g}" if value >= LEAST_P else f"p < {LEAST_P:g}"


def _more(pair: Pair, tested: int) -> int | None:
    """Further trainings a side after which a difference like this is beyond noise under the strictest correction."""

    def settled(more: int) -> bool:
        return later(pair, more).p_value() * tested < LEVEL

    return fewest(settled, 1)


def later(pair: Pair, more: int) -> Difference:
    """The difference after so many further trainings a side, if it and the noise stay as they are."""
    one, other = (seeds + more for seeds in pair.seeds)
    if pair.paired:
        return Difference(pair.found.log, pair.found.error * math.sqrt(pair.seeds[0] / one), one - 1)
    return foreseen(pair.found.log, pair.spreads, (one, other), _dof(pair, more))


def _dof(pair: Pair, more: int) -> float:
    """Degrees of freedom that the records would have of the pair's noise."""
    spread = pair.spreads[0]
    return sum(pair.seeds) + 2 * more - 2 if spread.known else spread.dof + 2 * more


def foreseen(log: float, spreads: tuple[Spread, Spread], seeds: tuple[int, int], dof: float) -> Difference:
    """What `compare` would find of rows that were trained so often and differ by `log`.

    Args:
        spreads: of one training of each, which stay as large.
        dof: degrees of freedom that the records would have of the pooled noise.
    """
    if seeds[0] == seeds[1] >= PAIRS:
        error = math.hypot(*(spread.sd for spread in spreads)) / math.sqrt(seeds[0])
        return Difference(log, error, seeds[0] - 1)
    sides = zip(("one", "other"), spreads, seeds, strict=True)
    return difference(log, [Share(spread.after(count, dof, name), count) for name, spread, count in sides])
