"""What the records of a row say together, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from hdit_repro.audit.summary import Measured, sampling_sd
from hdit_repro.errors import counted
from hdit_repro.records.schema import Record
from hdit_repro.render.cells import significant
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import FRECHET_NAMES
from hdit_repro.spec.run import Run


def frechet_name(run: Run) -> str:
    """The base name of the Fréchet distance on the run's extractor ("fid", "fd-efficientnet-lite0")."""
    return FRECHET_NAMES[kind_of(run.evaluation.extractor)]


def in_words(found: Measured) -> str:
    """Mean, spread and count in a sentence: "fid: 27.21 ± 0.3 over 3 training seeds, 5 records"."""
    spread = "" if found.sd is None else _scatter(found.sd)
    between = sampling_sd(found)
    repeated = "" if between is None else f";{_scatter(between)} between samplings of one network"
    counts = (found.seeds, "training seed"), (len(found.records), "record")
    behind = ", ".join(counted(number, what) for number, what in counts)
    return f"{found.name}: {found.mean:.6g}{spread} over {behind}{repeated}"


def _scatter(sd: float) -> str:
    """Of equal values it is said that they are, and no noise of nothing."""
    return f" ± {significant(sd, 2)}" if sd else " without a difference"


def each(found: Measured) -> list[tuple[int, float]]:
    """Each value behind a number with its training seed."""
    return [(record.seed, record.metrics[found.name].value) for record in found.records]


def context_mean(records: Iterable[Record], name: str) -> float | None:
    """The mean of a companion value over the records that have it; None when none has."""
    values = [record.context[name] for record in records if name in record.context]
    return fmean(values) if values else None
