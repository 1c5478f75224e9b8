"""Which records belong to a row, and what they say together. Scales never mix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import fmean, stdev, variance
from typing import NamedTuple

from hdit_repro.errors import counted
from hdit_repro.records.rows import index as index
from hdit_repro.records.rows import of_row as of_row
from hdit_repro.records.rows import set_aside as set_aside
from hdit_repro.records.schema import Metric, Record
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import FRECHET_NAMES
from hdit_repro.spec.run import Run


class Measured(NamedTuple):
    """A row's number: the mean over training seeds, with their sample standard deviation where there are several.

    `interval` is the record's own, kept for a single record only. `records` are all behind the number.
    """

    name: str
    mean: float
    sd: float | None
    seeds: int
    interval: Metric | None
    records: tuple[Record, ...]


def frechet_name(run: Run) -> str:
    """The base name of the Fréchet distance on the run's extractor ("fid", "fd-efficientnet-lite0")."""
    return FRECHET_NAMES[kind_of(run.evaluation.extractor)]


def summarise(records: Sequence[Record], base: str) -> Measured | None:
    """The number of the records that carry the metric under its plain name; None when none does.

    Several samplings of one training seed are averaged first, so that each training counts once.
    """
    carrying = [record for record in records if base in record.metrics]
    if not carrying:
        return None
    by_seed: dict[int, list[float]] = {}
    for record in carrying:
        by_seed.setdefault(record.seed, []).append(record.metrics[base].value)
    means = [fmean(values) for values in by_seed.values()]
    only = carrying[0].metrics[base] if len(carrying) == 1 else None
    interval = only if only is not None and only.low is not None else None
    return Measured(base, fmean(means), stdev(means) if len(means) > 1 else None, len(means), interval, tuple(carrying))


def in_words(found: Measured) -> str:
    """Mean, spread and count in a sentence: "fid: 27.21 ± 0.3 over 3 training seeds, 5 records"."""
    spread = "" if found.sd is None else _scatter(found.sd)
    between = sampling_sd(found.records, found.name)
    repeated = "" if between is None else f";{_scatter(between)} between samplings of one network"
    counts = (found.seeds, "training seed"), (len(found.records), "record")
    behind = ", ".join(counted(number, what) for number, what in counts)
    return f"{found.name}: {found.mean:.6g}{spread} over {behind}{repeated}"


def _scatter(sd: float) -> str:
    """Of equal values it is said that they are, and no noise of nothing."""
    return f" ± {sd:.2g}" if sd else " without a difference"


def each(found: Measured) -> list[tuple[int, float]]:
    """Each value behind a number with its training seed."""
    return [(record.seed, record.metrics[found.name].value) for record in found.records]


def context_mean(records: Iterable[Record], name: str) -> float | None:
    """The mean of a companion value over the records that have it; None when none has."""
    values = [record.context[name] for record in records if name in record.context]
    return fmean(values) if values else None


def sampling_sd(records: Iterable[Record], name: str) -> float | None:
    """The standard deviation between samplings of one network, pooled over networks; None where each has one."""
    by_seed: dict[int, list[float]] = {}
    for record in records:
        if name in record.metrics:
            by_seed.setdefault(record.seed, []).append(record.metrics[name].value)
    repeated = [values for values in by_seed.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    return sqrt(sum((len(values) - 1) * variance(values) for values in repeated) / freedom) if freedom else None
