"""What a run implies of its record: it is written so, and refused where it says otherwise. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from hdit_repro.records.schema import DRAWING, UNLABELLED, Record, asked_samples, metric_name
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import Data, Folder, facts_of
from hdit_repro.spec.evaluation import AdmReference, DatasetReference, metric_names
from hdit_repro.spec.run import Run

ADM_COUNTS = {"VIRTUAL_imagenet128_labeled": 1_281_167, "VIRTUAL_imagenet256_labeled": 1_281_167}
"""Images behind ADM's published statistics: all of ImageNet's training set."""


def protocol(run: Run) -> dict[str, Any]:
    """The protocol's fields but those of the feature network's file and the reference."""
    return {
        "extractor": kind_of(run.evaluation.extractor),
        "samples": run.sampling.count,
        "precision": run.sampling.precision,
        **drawing(run),
    }


def drawing(run: Run) -> dict[str, Any]:
    """The protocol's fields that say how the samples were drawn: none of them is known of somebody's images."""
    if run.external:
        return dict.fromkeys(DRAWING)
    sampling = run.sampling
    return {
        "sampler": kind_of(sampling.sampler),
        "steps": sampling.sampler.steps,
        "network_evaluations": sampling.network_calls,
        "guidance": sampling.guidance,
        "weights": sampling.weights,
        "labels": sampling.labels if run.model.classes else UNLABELLED,
    }


def reference(asked: DatasetReference | AdmReference, data: Data) -> dict[str, Any]:
    """All fields of the reference but its digest."""
    shared = {"kind": kind_of(asked), "split": "train", "resolution": data.resolution}
    if isinstance(asked, AdmReference):
        return {**shared, "name": asked.name, "count": ADM_COUNTS.get(asked.name, 0), "transform": "adm"}
    name = data.dataset.name if isinstance(data.dataset, Folder) else kind_of(data.dataset)
    return {**shared, "name": name, "count": asked.count or facts_of(data.dataset).images, "transform": data.transform}


def contradictions(record: Record) -> Iterator[str]:
    """Where a record says other than its own run: "protocol.weights is raw, and its run has ema"."""
    run, said = record.spec, record.protocol
    against = reference(run.evaluation.reference, run.data)
    for within, part, expected in (("", said, protocol(run)), (".reference", said.reference, against)):
        for name, value in expected.items():
            if (found := getattr(part, name)) != value:
                yield f"protocol{within}.{name} is {_word(found)}, and its run has {_word(value)}"
    names = _names(record)
    for name in [name for name in record.metrics if name not in names]:
        yield f"metrics has {name}, and its run has {', '.join(names)}"


def _names(record: Record) -> list[str]:
    """The names of the numbers that a record's run asks for, at the record's scale."""
    count, evaluation = record.spec.sampling.count, record.spec.evaluation
    asked, extractor = asked_samples(record.scale, count), kind_of(evaluation.extractor)
    return [metric_name(name, count, asked) for kind in evaluation.metrics for name in metric_names(kind, extractor)]


def _word(value: object) -> object:
    return "unset" if value is msgspec.UNSET else "null" if value is None else value
