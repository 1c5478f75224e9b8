"""A row's number from its records: the mean over trainings, and what scatters around it. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import NamedTuple

from hdit_repro.audit.replicates import pooled
from hdit_repro.records.schema import Metric, Record


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


def summarise(records: Iterable[Record], name: str) -> Measured | None:
    """The number of the records that carry the metric under its plain name; None when none does.

    Several samplings of one training seed are averaged first, so that each training counts once.
    """
    carrying = tuple(record for record in records if name in record.metrics)
    if not carrying:
        return None
    means = [fmean(values) for values in _by_seed(carrying, name).values()]
    only = carrying[0].metrics[name] if len(carrying) == 1 else None
    interval = only if only is not None and only.low is not None else None
    return Measured(name, fmean(means), stdev(means) if len(means) > 1 else None, len(means), interval, carrying)


def sampling_sd(found: Measured) -> float | None:
    """The standard deviation between samplings of one network, pooled over networks; None where each has one."""
    sd, dof = pooled(_by_seed(found.records, found.name).values())
    return sd if dof else None


def _by_seed(records: Iterable[Record], name: str) -> dict[int, list[float]]:
    """The values of a metric that all of them have, by training seed."""
    found: dict[int, list[float]] = {}
    for record in records:
        found.setdefault(record.seed, []).append(record.metrics[name].value)
    return found
