"""Is a printed number reproduced? The verdict on a cell, its basis, and what would settle an open one. No torch."""

from __future__ import annotations

import math
from typing import NamedTuple

from hdit_repro.audit.bills import Bills
from hdit_repro.audit.decide import (
    LEVEL,
    MARGIN,
    Outcome,
    Share,
    difference,
    fewest,
    verdict,
)
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.noise import Spread
from hdit_repro.audit.replicates import between, change
from hdit_repro.errors import counted
from hdit_repro.jobs import Job
from hdit_repro.paper import Claim


class Verdict(NamedTuple):
    """What our measurements say about a claim; `words` is the whole, in a sentence: difference, seeds, noise, and what
    would settle it where it is open."""

    outcome: Outcome
    words: str


def on_cell(claim: Claim, job: Job, measurements: Measurements, bills: Bills) -> Verdict | None:
    """The verdict on a printed number of a run; None where either side is no positive number."""
    metric = measurements.metric(claim, job.run)
    ours = measurements.replicates(job.run, metric) if metric else None
    if ours is None or not isinstance(claim.printed, int | float) or claim.printed <= 0:
        return None
    noise, row = measurements.noise(job.run, metric), job.run.row_id
    shares = (Share(noise.of(row, ours.samplings), ours.seeds), Share(noise.of(row), 1))
    found = difference(ours.mean - math.log(claim.printed), shares)
    outcome = verdict(found)
    if shares[1].spread.unknown:
        noise_words = shares[1].spread.words()
        words = f"{outcome}: ours is {change(found.log)} from print, n = {ours.seeds}; noise {noise_words}"
        return Verdict(outcome, words)
    more = seeds_to_settle(found.log, shares[0].spread, shares[1].spread, ours.seeds)
    low, high = found.interval(1 - 2 * LEVEL)
    words = (
        f"{outcome}: ours is {change(found.log)} from print, 90 % interval {between(low, high)}"
        f"{SHARED}{100 * MARGIN:g} %, n = {ours.seeds}, noise {shares[1].spread.brief()}"
    )
    if outcome == "inconclusive":
        price = f"{counted(more, 'more seed')}: {bills.many(job, more)}" if more else ""
        settled = f"{price} would settle it if the difference stays" if more else NEVER
        words = f"{words}; {settled}"
    return Verdict(outcome, words)


SHARED = ", margin ±"
"""Where what is a row's own ends in the words of a verdict: the rest may be that of others too."""

NEVER = "no number of our seeds would settle it, since print is one training"


def seeds_to_settle(log: float, ours: Spread, print_: Spread, seeds: int) -> int | None:
    """The fewest further trainings after which the verdict is no longer inconclusive, difference and noise being as
    they are.

    Args:
        log: ours less print, in logarithms.
        ours: spread of one training of ours.
        print_: spread of the printed number.
        seeds: trainings that there are.

    Returns:
        None where MOST_SEEDS do not settle it.
    """

    def settled(more: int) -> bool:
        trainings = seeds + more
        dof = trainings - 1 if ours.known else ours.dof + more
        spreads = [spread.after(trainings, dof) if more else spread for spread in (ours, print_)]
        found = difference(log, (Share(spreads[0], trainings), Share(spreads[1], 1)))
        return verdict(found) != "inconclusive"

    return fewest(settled, 0)
