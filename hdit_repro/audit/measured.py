"""What the records say about a printed number: ours beside it, with the protocol. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import NamedTuple

import msgspec

from hdit_repro.audit.computed import say
from hdit_repro.paper import Claim, Unit
from hdit_repro.records.schema import Protocol, Record, Scale, asked_samples, metric_name
from hdit_repro.spec.run import Run

SCALE: Scale = "paper"
"""The only scale whose numbers stand beside the paper's."""

METRICS = {Unit.FID: "fid", Unit.IS: "inception-score"}
"""Unit of a claim -> the record's metric that measures the same thing."""


class Measured(NamedTuple):
    """Our number for a claim: the mean over training seeds, their sample standard deviation where there are several."""

    metric: str
    mean: float
    sd: float | None
    seeds: int
    protocol: Protocol

    def words(self, claim: Claim) -> str:
        """Ours, the print, the difference and the protocol. No verdict: a difference alone decides nothing."""
        spread = f" (mean of {self.seeds} training seeds, standard deviation {say(self.sd)})" if self.seeds > 1 else ""
        parts = [f"ours {self.mean:.4g}{spread}, printed {claim.text}"]
        if isinstance(claim.printed, int | float):
            parts.append(f"difference {self.mean - claim.printed:+.3g}")
        return f"{', '.join(parts)}; {protocol_words(self.metric, self.protocol)}"


class Measurements:
    """Records at paper scale, by what repetitions of one row share."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records: dict[str, list[Record]] = {}
        for record in records:
            if record.scale == SCALE:
                self._records.setdefault(row_key(record.spec), []).append(record)

    def of(self, claim: Claim, run: Run) -> Measured | None:
        """Our number for a claim about a run, measured as the claim says; None where there is none.

        Several samplings of one training seed are averaged first, so that each training counts once.
        """
        if claim.unit not in METRICS or not self._records:
            return None
        samples = claim.samples or run.sampling.count
        name = metric_name(METRICS[claim.unit], samples, asked_samples(SCALE, samples))
        carrying = [record for record in self._records.get(row_key(run), []) if name in record.metrics]
        if not carrying:
            return None
        by_seed: dict[int, list[float]] = {}
        for record in carrying:
            by_seed.setdefault(record.seed, []).append(record.metrics[name].value)
        means = [fmean(values) for values in by_seed.values()]
        sd = stdev(means) if len(means) > 1 else None
        return Measured(name, fmean(means), sd, len(means), carrying[0].protocol)


def row_key(run: Run) -> str:
    """The evaluation's id with both seeds set to zero: what repetitions of one row share."""
    sampling = msgspec.structs.replace(run.sampling, seed=0)
    return msgspec.structs.replace(run, seed=0, sampling=sampling).evaluation_id


def protocol_words(metric: str, protocol: Protocol) -> str:
    """How a number was measured, in a line."""
    reference = protocol.reference
    return (
        f"{metric} on {protocol.extractor}, {protocol.samples:,} samples against {reference.count:,} images of "
        f"{reference.name}, {protocol.sampler} with {protocol.steps} steps, guidance {protocol.guidance:g}, "
        f"{protocol.weights} weights"
    )
