"""Two rows' numbers set against each other, metric by metric, as the audit tests differences."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hdit_repro.audit.decide import Difference
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.noise import said
from hdit_repro.audit.orders import compare
from hdit_repro.audit.replicates import SHARED, between, change, percent, share
from hdit_repro.audit.summary import Measured, summarise
from hdit_repro.jobs import Job
from hdit_repro.records.lint import difference as otherwise


class Contrast(NamedTuple):
    """A metric of both rows. `difference` is the first less the second in logarithms; None where that is undefined, or
    where both are one run.

    `shared` is whether both are drawn from the same networks. `otherwise` names in what the two were measured
    differently, so that the difference holds that too.
    """

    metric: str
    one: Measured
    other: Measured
    difference: Difference | None
    test: str
    shared: bool
    otherwise: str

    @property
    def same(self) -> bool:
        """Whether both rows are one run, which is no other than itself."""
        return [record.evaluation_id for record in self.one.records] == [
            record.evaluation_id for record in self.other.records
        ]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the relative difference, in percent; None where luck is unknown."""
        if self.difference is None or math.isinf(self.difference.error):
            return None
        low, high = self.difference.interval()
        return percent(low), percent(high)

    def as_row(self) -> dict[str, Any]:
        """The contrast as `compare --json` prints it; the difference and its interval are in percent."""
        low, high = self.interval or (None, None)
        return {
            "metric": self.metric,
            "one": {"mean": self.one.mean, "sd": self.one.sd, "n": self.one.seeds},
            "other": {"mean": self.other.mean, "sd": self.other.sd, "n": self.other.seeds},
            "percent": None if self.difference is None else percent(self.difference.log),
            "low": low,
            "high": high,
            "p": None if self.difference is None or self.interval is None else self.difference.p_value(),
            "same_trainings": self.shared,
            "same_protocol": not self.otherwise,
        }

    def words(self) -> str:
        """The relative difference with its interval."""
        if self.same:
            return "one run"
        if self.difference is None:
            return "no difference in percent: not all values are positive"
        note = "; measured by different protocols, which the difference holds too" if self.otherwise else ""
        away = change(self.difference.log)
        if self.interval is None:
            return f"{away}, {self.test}{note}"
        low, high = self.difference.interval()
        return f"{away}, 95 % interval {between(low, high)}, {self.test}{note}"


def contrasts(pair: tuple[Job, Job], measurements: Measurements) -> list[Contrast]:
    """The first row less the second, by each metric that both have, in the order of the first's records."""
    left, right = (measurements.records(job.run) for job in pair)
    found = []
    names = dict.fromkeys(name for record in left for name in record.metrics)
    for name in names:
        ours, theirs = summarise(left, name), summarise(right, name)
        if ours is None or theirs is None:
            continue
        change_, test, shared = _difference(pair, name, measurements)
        found.append(Contrast(name, ours, theirs, change_, test, shared, otherwise(left[0], right[0])))
    return found


def _difference(pair: tuple[Job, Job], name: str, measurements: Measurements) -> tuple[Difference | None, str, bool]:
    """The difference, what it rests on, and whether the two share trainings."""
    one, other = (measurements.replicates(job.run, name) for job in pair)
    if pair[0].run.row_id == pair[1].run.row_id or one is None or other is None:
        return None, "", False
    left, right = (
        measurements.spread(job.run, name, side.samplings) for job, side in zip(pair, (one, other), strict=True)
    )
    found, paired = compare(one, other, (left, right))
    shared, known = share(one, other), not math.isinf(found.error)
    noise = f"noise {said((left, right))}" + (f"; {SHARED}" if shared and known else "")
    return found, "paired by seed" if paired else noise, shared
