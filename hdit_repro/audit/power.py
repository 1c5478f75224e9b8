"""Which of the paper's differences could be told from luck, with how many trainings a side, at what price. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Any, NamedTuple

from hdit_repro import jobs
from hdit_repro.audit.decide import LEVEL, Difference, fewest, quantile
from hdit_repro.audit.measured import SCALE, Measurements
from hdit_repro.audit.noise import Spread
from hdit_repro.audit.orders import foreseen
from hdit_repro.jobs import Job
from hdit_repro.launch.clusters import Cluster
from hdit_repro.launch.price import price
from hdit_repro.paper import Claim, Ledger, Unit
from hdit_repro.paper.checks import Order
from hdit_repro.records.layout import STAGES
from hdit_repro.spec.run import Run

POWER = 0.8
"""Chance of finding a difference that the second count of seeds is for."""


class Comparison(NamedTuple):
    """Two printed numbers and what it takes to tell them apart.

    Attributes:
        lower, higher: the claims; the first prints the smaller number.
        why: "claim" of order, "step" (one row is the other and a change), "neighbours" by FID, or "pair" of a table.
        percent: how far apart they are: 100 times the difference of logarithms.
        threshold: from which percent on n trainings a side find a difference beyond noise.
        resolvable: whether the printed difference is beyond it.
        seeds: the fewest trainings a side with which it is; None where MOST_SEEDS are not enough.
        surely: trainings a side that find a true difference of this size in POWER of all cases.
        gpu_hours: of n trainings a side with their samples and measurements.
        seeds_gpu_hours: of `surely` a side.
    """

    lower: Claim
    higher: Claim
    why: str
    percent: float
    threshold: float
    resolvable: bool
    seeds: int | None
    surely: int | None
    gpu_hours: float
    seeds_gpu_hours: float | None

    @property
    def name(self) -> str:
        """Both rows by the names of their jobs."""
        return f"{self.lower.run} / {self.higher.run}"

    def as_row(self) -> dict[str, Any]:
        """The comparison as `power --json` prints it."""
        rounded = {key: round(value, 4) for key, value in self._asdict().items() if isinstance(value, float)}
        sides = {
            "lower": self.lower.run,
            "higher": self.higher.run,
            "printed": [self.lower.printed, self.higher.printed],
        }
        return {**self._asdict(), **rounded, **sides}


def power(
    ledger: Ledger, cluster: Cluster, seeds: int, measurements: Measurements, table: str | None = None,
    spread: Spread | None = None,
) -> list[Comparison]:  # fmt: skip
    """The comparisons that matter, or all pairs of one table, the smallest difference first.

    Args:
        seeds: trainings a side.
        measurements: their noise is used where they have enough of it.
        table: a table of the ledger; None is every claim of order, step of an ablation and neighbours by FID.
        spread: of one training; None is the measurements', or the published one.

    Claims of order are tested together (`orders.ORDER_RULE`), so each must pass the strictest of Holm's levels; other
    pairs are each a question of their own. The noise of claims, and of pairs of a table, is then estimated from the
    trainings of all their rows, that of others from the two rows' alone.
    """
    pairs = _pairs_of(ledger, table) if table else _that_matter(ledger)
    hours = cache(lambda name: _hours(jobs.find(name), cluster))
    asked: dict[tuple[str, str], tuple[Claim, Claim, str, Spread, float]] = {}
    for one, other, why in pairs:
        assert one.run
        assert other.run
        runs = [jobs.find(name).run for name in (one.run, other.run)]
        left, right = (run.row_id for run in runs)
        key = (min(left, right), max(left, right))
        if left != right and key not in asked and _comparable(*runs):
            noise = spread or measurements.noise(runs[0], measurements.metric(one, runs[0])).pooled
            asked[key] = one, other, why, noise, hours(one.run) + hours(other.run)
    together = [key for key, (_, _, why, _, _) in asked.items() if why in ("claim", "pair")]
    rows = len({row for key in together for row in key})
    of_why = {"claim": (LEVEL / max(1, len(together)), rows), "pair": (LEVEL, rows)}
    found = [
        _compare(one, other, why, noise, seeds, bill, *of_why.get(why, (LEVEL, 2)))
        for one, other, why, noise, bill in asked.values()
    ]
    return sorted(found, key=lambda comparison: comparison.percent)


def _comparable(one: Run, other: Run) -> bool:
    """Whether two runs have the same data set, resolution, training budget and number of samples."""

    def held(run: Run) -> tuple[object, ...]:
        return run.data.dataset, run.data.resolution, run.training.samples_seen, run.sampling.count

    return held(one) == held(other)


def threshold(spread: Spread, seeds: int, level: float = LEVEL, rows: int = 2) -> float:
    """The smallest difference of logarithms that `verify` finds at a level, with so many trainings of each of the rows
    whose noise is one."""
    return _test(spread, seeds, rows).interval(1 - level)[1]


def chance(log: float, spread: Spread, seeds: int, level: float, rows: int) -> float:
    """How often `verify` finds a true difference of this size: the upper tail of a noncentral t."""
    test = _test(spread, seeds, rows)
    beyond, true = quantile(1 - level / 2, test.dof), abs(log) / test.error
    if math.isinf(test.dof):
        return NormalDist().cdf(true - beyond)
    from scipy.special import nctdtr

    return 1.0 if true > FAR else 1 - float(nctdtr(test.dof, true, beyond))


FAR = 30.0
"""Standard errors from which a difference is found always."""


def _test(spread: Spread, seeds: int, rows: int) -> Difference:
    """The test of two equal rows, with the noise that would be known by then."""
    return foreseen(0.0, (spread, spread), (seeds, seeds), rows * (seeds - 1))


def seeds_for(log: float, spread: Spread, level: float = LEVEL, rows: int = 2) -> int | None:
    """The fewest trainings a side with which a difference of this size is beyond noise."""
    return fewest(lambda seeds: abs(log) > threshold(spread, seeds, level, rows), 1)


def seeds_surely(log: float, spread: Spread, level: float = LEVEL, rows: int = 2) -> int | None:
    """The fewest trainings a side that find a difference of this size, if it is true, in POWER of all cases."""
    return fewest(lambda seeds: chance(log, spread, seeds, level, rows) >= POWER, 1)


def _compare(
    one: Claim, other: Claim, why: str, spread: Spread, seeds: int, hours: float, level: float, rows: int
) -> Comparison:
    lower, higher = sorted((one, other), key=_number)
    log = math.log(_number(higher) / _number(lower))
    least = threshold(spread, seeds, level, rows)
    surely = seeds_surely(log, spread, level, rows)
    return Comparison(
        lower=lower,
        higher=higher,
        why=why,
        percent=100 * log,
        threshold=100 * least,
        resolvable=log > least,
        seeds=seeds_for(log, spread, level, rows),
        surely=surely,
        gpu_hours=seeds * hours,
        seeds_gpu_hours=None if surely is None else surely * hours,
    )


def _number(claim: Claim) -> float:
    assert isinstance(claim.printed, int | float)
    return claim.printed


def _hours(job: Job, cluster: Cluster) -> float:
    return sum(price(job.run, stage, SCALE, cluster).gpu_hours for stage in STAGES)


def _fids(ledger: Ledger, table: str | None = None) -> list[Claim]:
    """Printed FIDs of rows that have a job."""
    return [
        claim
        for claim in ledger
        if claim.unit is Unit.FID and claim.run and claim.needs == "run" and isinstance(claim.printed, int | float)
        and claim.printed > 0 and claim.table and table in (None, claim.table)
    ]  # fmt: skip


def _pairs_of(ledger: Ledger, table: str) -> Iterator[tuple[Claim, Claim, str]]:
    for one, other in combinations(_fids(ledger, table), 2):
        yield one, other, "pair"


def _that_matter(ledger: Ledger) -> Iterator[tuple[Claim, Claim, str]]:
    """Claims of order first, so that a pair that is several things is called a claim."""
    claims = _fids(ledger)
    by_run = {jobs.find(claim.run).run.row_id: claim for claim in reversed(claims) if claim.run}
    known = {claim.id for claim in claims}
    for claim in ledger:
        if isinstance(claim.check, Order) and {claim.check.lower, claim.check.higher} <= known:
            yield ledger.claim(claim.check.lower), ledger.claim(claim.check.higher), "claim"
    for claim in claims:
        below = by_run.get(jobs.find(_builds_on(claim.run)).run.row_id) if _builds_on(claim.run) else None
        if below is not None:
            yield below, claim, "step"
    for table in ledger.tables:
        ranked = sorted(_distinct(_fids(ledger, table)), key=_number)
        for one, other in pairwise(ranked):
            yield one, other, "neighbours"


def _distinct(claims: Iterable[Claim]) -> list[Claim]:
    return list({jobs.find(claim.run).run.row_id: claim for claim in claims if claim.run}.values())


NAMED = re.compile(r"([A-Z]\d?) (?:\+|with) ")
"""How the label of a step begins: "R2 + our basic blocks", "E with AdaLN"."""


def _builds_on(run: str | None) -> str:
    """The job that a row is one step from; empty where it is none.

    It is the row that its label names, as printed; else the one of another experiment that its file extends, for what a
    file extends within its own is a way of writing and may be anything (R3 is written from A, and is R2 and a change).
    """
    if not run:
        return ""
    job = jobs.find(run)
    rows = jobs.read(job.experiment).rows
    if named := NAMED.match(job.label):
        return f"{job.experiment if named[1] in rows else 'table1'}/{named[1]}"
    parent = rows[job.row].get("extends")
    return parent if isinstance(parent, str) and "/" in parent else ""
