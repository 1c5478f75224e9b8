"""Records as one flat table: a line a metric of a record. csv needs nothing; parquet needs the extra of that name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hdit_repro.errors import UserError, pick
from hdit_repro.files import as_csv, atomic_file, refuse_other, write_text
from hdit_repro.records.schema import CONTEXT, Record
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Folder

FORMATS = ("csv", "parquet")
ALWAYS = ("names", "metric", "value", "evaluation_id")
"""Columns of every export, by which an earlier one is known that may be replaced."""


Asking = Mapping[str, Sequence[str]]
"""By a run's row id the rows that ask for it as they stand now (`jobs.asking`)."""


def lines(records: Iterable[Record], asking: Asking) -> list[dict[str, Any]]:
    """One dict a metric of a record, all with the same keys; empty values are None.

    `rows` are the rows that ask for such a record now, and `names` those that did when it was measured.
    """
    return [line for record in records for line in _lines(record, asking.get(record.spec.row_id, ()))]


def _lines(record: Record, rows: Sequence[str]) -> Iterable[dict[str, Any]]:
    protocol, reference, made = record.protocol, record.protocol.reference, record.provenance
    dataset = record.spec.data.dataset
    shared = {
        "rows": " ".join(rows) or None,
        "dataset": dataset.name if isinstance(dataset, Folder) else kind_of(dataset),
        "names": " ".join(record.names),
        "label": record.label,
        "scale": record.scale,
        "seed": record.seed,
        "sampling_seed": record.sampling_seed,
    }
    how = {
        "extractor": protocol.extractor,
        "weights_digest": protocol.weights_digest,
        "resize": protocol.resize,
        "reference": reference.name,
        "reference_digest": reference.digest,
        "reference_count": reference.count,
        "resolution": reference.resolution,
        "samples": protocol.samples,
        "sampler": protocol.sampler,
        "steps": protocol.steps,
        "network_evaluations": protocol.network_evaluations,
        "guidance": protocol.guidance,
        "weights": protocol.weights,
        "labels": protocol.labels,
        **{name: record.context.get(name) for name in CONTEXT},
        "training_id": record.training_id,
        "sampling_id": record.sampling_id,
        "evaluation_id": record.evaluation_id,
        "digest": record.digest,
        "commit": made.commit,
        "dirty": made.dirty,
        "device": made.device,
        "gpu_hours": made.gpu_hours,
        "time": made.time,
    }
    for name, metric in record.metrics.items():
        yield {**shared, "metric": name, "value": metric.value, "low": metric.low, "high": metric.high, **how}


def export(records: Iterable[Record], path: Path, asking: Asking) -> int:
    """Write records to `path`, whose ending says how; returns the number of lines.

    Args:
        records: those of a scale.
        path: ends in .csv or .parquet.
        asking: the rows as they stand now.

    Raises:
        UserError: an ending that is not known, nothing to write, parquet without pyarrow, or a file that is no export
            stands there.
    """
    pick(dict.fromkeys(FORMATS), path.suffix.lstrip("."), kind="ending of an export", where=str(path))
    found = lines(records, asking)
    if not found:
        raise UserError(
            "there is nothing to export", found="no record", expected="one or more", fix="hdit-repro results lint"
        )
    if path.suffix == ".parquet":
        _parquet(found, path)
        return len(found)
    refuse_other(path, "an export of records", lambda: set(ALWAYS) <= set(_heads(path)))
    write_text(path, as_csv(list(found[0]), found))
    return len(found)


def _heads(path: Path) -> list[str]:
    """The first line of a csv."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), [])


def _parquet(found: list[dict[str, Any]], path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise UserError(
            "parquet needs pyarrow, which is not installed",
            found=str(path),
            expected="a path that ends in .csv, or pyarrow",
            fix="pip install 'hdit-repro[parquet]'",
        )
    import pandas
    from pyarrow import lib, parquet

    def earlier() -> bool:
        try:
            return set(ALWAYS) <= set(parquet.read_schema(path).names)
        except lib.ArrowInvalid:
            return False

    refuse_other(path, "an export of records", earlier)
    with atomic_file(path) as file:
        pandas.DataFrame(found).to_parquet(file, index=False)
