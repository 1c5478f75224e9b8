"""What the records say about a printed number: ours beside it, with the protocol. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from hdit_repro.audit.computed import say
from hdit_repro.audit.noise import PRIOR, PUBLISHED, UNKNOWN, Noise, Spread, estimate, unpublished
from hdit_repro.audit.replicates import Replicates, replicates
from hdit_repro.audit.summary import Measured, summarise
from hdit_repro.paper import Claim, Unit
from hdit_repro.records import rows
from hdit_repro.records.schema import Protocol, Record, Scale, asked_samples, metric_name
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import FRECHET_NAMES
from hdit_repro.spec.run import Run

SCALE: Scale = "paper"
"""The only scale whose numbers stand beside the paper's."""

METRICS = {Unit.FID: "fid", Unit.IS: "inception-score"}
"""Unit of a claim -> the record's metric that measures the same thing."""


class Measurements:
    """Records of one scale, by what repetitions of one row share."""

    def __init__(self, records: Iterable[Record], scale: Scale = SCALE) -> None:
        self.scale: Scale = scale
        self._index = rows.index(record for record in records if record.scale == scale)
        self._noises: dict[tuple[object, ...], Noise] = {}

    def __bool__(self) -> bool:
        return bool(self._index)

    def records(self, run: Run) -> list[Record]:
        """Of a row, under one protocol."""
        return rows.of_row(self._index, self.scale, run) if self._index else []

    def of(self, claim: Claim, run: Run) -> Measured | None:
        """Our number for a claim about a run, measured as the claim says; None where there is none."""
        name = self.metric(claim, run)
        return summarise(self.records(run), name) if name else None

    def metric(self, claim: Claim, run: Run) -> str:
        """The name of the metric that a claim about a run is held against; empty where records have none.

        Below paper scale a FID is the Fréchet distance of the run's own extractor.
        """
        if claim.unit not in METRICS:
            return ""
        base = METRICS[claim.unit]
        if self.scale != SCALE and claim.unit is Unit.FID:
            base = FRECHET_NAMES[kind_of(run.evaluation.extractor)]
        samples = run.sampling.count if self.scale != SCALE else claim.samples or run.sampling.count
        return metric_name(base, samples, asked_samples(self.scale, samples))

    def replicates(self, run: Run, metric: str) -> Replicates | None:
        """The repetitions of a row."""
        return replicates(self.records(run), metric)

    def spread(self, run: Run, metric: str, samplings: float = 1.0) -> Spread:
        """Of a row's mean over so many samplings of one training."""
        return self.noise(run, metric).of(run.row_id, samplings)

    def noise(self, run: Run, metric: str) -> Noise:
        """The noise of a metric, pooled over all rows on the run's data set at its resolution."""
        data = (kind_of(run.data.dataset), run.data.resolution)
        if (metric, data) not in self._noises:
            found: dict[str, Replicates] = {}
            for (_, key), (kept, _) in self._index.items():
                theirs = kept[0].spec.data
                if (kind_of(theirs.dataset), theirs.resolution) == data and (some := replicates(kept, metric)):
                    found[key] = some
            self._noises[metric, data] = estimate(found, self._prior(metric), f"{data[0]} {data[1]}")
        return self._noises[metric, data]

    def _prior(self, metric: str) -> Spread:
        """What is known of a metric's noise before any repetition: of no other than the paper's FID anything is."""
        if self.scale != SCALE:
            return UNKNOWN
        return PRIOR if metric == PUBLISHED else unpublished(metric)


def against_print(found: Measured, claim: Claim) -> str:
    """Ours, the print, the difference and the protocol."""
    between = f"standard deviation {say(found.sd)}" if found.sd else "no two of which differ"
    spread = f" (mean of {found.seeds} training seeds, {between})" if found.seeds > 1 else ""
    parts = [f"ours {found.mean:.4g}{spread}, printed {claim.text}"]
    if isinstance(claim.printed, int | float):
        difference = found.mean - claim.printed
        parts.append(f"difference {'−' if difference < 0 else '+'}{abs(difference):.3g}")
    return f"{', '.join(parts)}; {protocol_words(found.name, found.records[0].protocol)}"


def protocol_words(metric: str, protocol: Protocol) -> str:
    """How a number was measured, in a line."""
    reference = protocol.reference
    return (
        f"{metric} on {protocol.extractor}, {protocol.samples:,} samples against {reference.count:,} images of "
        f"{reference.name}, {protocol.sampling_words()}"
    )
