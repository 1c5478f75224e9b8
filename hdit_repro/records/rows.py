"""Which records are repetitions of one row, and which of them may stand behind one number. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hdit_repro.records.schema import Record, Scale
from hdit_repro.spec.run import Run


class Repeats(NamedTuple):
    """The records of a row: those of one protocol, whatever their seeds, and those measured otherwise."""

    kept: list[Record]
    aside: list[Record]


Index = dict[tuple[str, str], Repeats]
"""Records by scale and row."""

NONE = Repeats([], [])


def index(records: Iterable[Record]) -> Index:
    """Records by (scale, row id)."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.scale, record.spec.row_id), []).append(record)
    return {key: split(group) for key, group in found.items()}


def of_row(found: Index, scale: Scale | str, run: Run) -> list[Record]:
    """The records of a row at a scale under one protocol, whatever their seeds, by both seeds and id."""
    return found.get((scale, run.row_id), NONE).kept


def set_aside(found: Index, scale: Scale | str, run: Run) -> list[Record]:
    """The records of a row at a scale that were measured in another way than those of `of_row`."""
    return found.get((scale, run.row_id), NONE).aside


def how(record: Record) -> tuple[object, ...]:
    """What a run's spec leaves open of its protocol, and what must agree before two numbers are averaged.

    Weights of the feature network, resize, reference, quantisation. The number of samples is in the metric's name.
    """
    protocol = record.protocol
    return (protocol.extractor, protocol.weights_digest, protocol.resize, protocol.reference, protocol.quantised)


def split(records: Sequence[Record]) -> Repeats:
    """The records of the protocol with the most training seeds, of those the latest; and all others."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.seed, record.sampling_seed, record.evaluation_id)):
        groups.setdefault(how(record), []).append(record)
    if len(groups) < 2:
        return Repeats(next(iter(groups.values()), []), [])

    def weight(group: list[Record]) -> tuple[int, str]:
        return len({record.seed for record in group}), max(record.provenance.time for record in group)

    kept = max(groups.values(), key=weight)
    return Repeats(kept, [record for group in groups.values() if group is not kept for record in group])
