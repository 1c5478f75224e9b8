"""What a run's samples are compared with, as its job says, with the words that its record needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.metrics.extractors import FeatureExtractor
from hdit_repro.metrics.reference import adm_reference, dataset_reference
from hdit_repro.metrics.statistics import Array
from hdit_repro.records.schema import Reference
from hdit_repro.spec.evaluation import AdmReference
from hdit_repro.spec.run import Run

ADM_COUNTS = {"VIRTUAL_imagenet128_labeled": 1_281_167, "VIRTUAL_imagenet256_labeled": 1_281_167}
"""Images behind ADM's published statistics: all of ImageNet's training set."""


class LoadedReference(NamedTuple):
    """Mean and covariance (float64), the distance between two halves where that can be told, and the description."""

    mean: Array
    cov: Array
    floor: float | None
    described: Reference


def load_reference(run: Run, extractor: FeatureExtractor, progress: Callable[[int, int], None]) -> LoadedReference:
    """The statistics that the run's job names, from the cache or computed.

    Raises:
        UserError: a published file or the data set is missing, or the file is of another feature network.
    """
    spec = run.evaluation.reference
    if isinstance(spec, AdmReference):
        return _adm(spec.name, run, extractor)
    images = open_dataset(run.data)
    statistics = dataset_reference(images, extractor, spec.count, progress)
    whole, facts = statistics.whole, statistics.facts
    described = Reference(
        kind="dataset",
        name=images.name,
        digest=str(facts["dataset_digest"]),
        count=whole.count,
        split="train",
        resolution=run.data.resolution,
        transform=run.data.transform,
    )
    return LoadedReference(whole.mean, whole.cov, statistics.floor(), described)


def _adm(name: str, run: Run, extractor: FeatureExtractor) -> LoadedReference:
    found = adm_reference(name)
    if extractor.name != "inception-2015" or len(found.mean) != extractor.width:
        raise UserError(
            "a metric cannot be taken against a reference of another feature network",
            found=f"{extractor.name}, {extractor.width} features, against {name} with {len(found.mean)}",
            expected="inception-2015 for ADM's published statistics",
            fix='evaluation = { extractor = { kind = "inception-2015" } }',
        )
    described = Reference(
        kind="adm",
        name=name,
        digest=found.digest,
        count=ADM_COUNTS.get(name, 0),
        split="train",
        resolution=run.data.resolution,
        transform="adm",
    )
    return LoadedReference(found.mean, found.cov, None, described)
