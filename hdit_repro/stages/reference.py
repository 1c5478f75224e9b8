"""What a run's samples are compared with, as its job says, with the words that its record needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.metrics.adm import AdmStatistics, adm_reference
from hdit_repro.metrics.extractors import FeatureExtractor
from hdit_repro.metrics.extractors.base import FEATURES, SPATIAL
from hdit_repro.metrics.reference import BATCH, cached_features, dataset_features, dataset_reference, floor
from hdit_repro.metrics.statistics import Array
from hdit_repro.records import implied
from hdit_repro.records.schema import Reference
from hdit_repro.spec.data import Data
from hdit_repro.spec.evaluation import REAL_IMAGES, AdmReference, DatasetReference
from hdit_repro.spec.run import Run

Stats = tuple[Array, Array]


class LoadedReference(NamedTuple):
    """Mean and covariance (float64), and the description.

    floor: the distance of so many real images, where that can be told. spatial: mean and covariance of ADM's spatial
    features. features: of single real images, N x width float32. All three are computed when they are called for, and
    None stands for a reference that cannot give them.
    """

    mean: Array
    cov: Array
    described: Reference
    floor: Callable[[int], float] | None = None
    spatial: Callable[[], Stats] | None = None
    features: Callable[[], Tensor] | None = None


def load_reference(run: Run, extractor: FeatureExtractor, progress: Callable[[int, int], None]) -> LoadedReference:
    """The statistics that the run's job names, from the cache or computed.

    Raises:
        UserError: a published file or the data set is missing, or the file is of another feature network or resolution.
    """
    spec = run.evaluation.reference
    if isinstance(spec, AdmReference):
        return _adm(spec, run.data, extractor)
    return of_dataset(run, extractor, spec.count, progress)


def of_dataset(
    run: Run, extractor: FeatureExtractor, count: int | None, progress: Callable[[int, int], None]
) -> LoadedReference:
    """The run's own data set as a reference, all of it or `count` evenly spaced images.

    Raises:
        UserError: the data set is missing or damaged, or `count` cannot be had.
    """
    images = open_dataset(run.data)
    statistics = dataset_reference(images, extractor, count, progress)
    whole, facts = statistics.whole, statistics.facts
    asked = implied.reference(DatasetReference(count=count), run.data)
    described = Reference(digest=str(facts["dataset_digest"]), **asked)

    def spatial() -> Stats:
        found = dataset_reference(images, extractor, count, progress, SPATIAL).whole
        return found.mean, found.cov

    def features() -> Tensor:
        return dataset_features(images, extractor, min(REAL_IMAGES, whole.count), progress)

    def of_real(samples: int) -> float:
        return floor(images, extractor, count, samples, progress)

    has_spatial = extractor.name == "inception-2015"
    return LoadedReference(whole.mean, whole.cov, described, of_real, spatial if has_spatial else None, features)


def _adm(spec: AdmReference, data: Data, extractor: FeatureExtractor) -> LoadedReference:
    found = adm_reference(spec.name)
    check_adm(found, extractor, (data.resolution, data.resolution))
    return adm_target(found, extractor, Reference(digest=found.digest, **implied.reference(spec, data)))


def adm_target(found: AdmStatistics, extractor: FeatureExtractor, described: Reference) -> LoadedReference:
    """ADM's file as a reference: its statistics for FID and spatial FID, its images for precision and recall."""
    spatial = found.spatial
    return LoadedReference(
        found.mean,
        found.cov,
        described,
        None,
        None if spatial is None else lambda: spatial,
        None if found.images is None else lambda: _adm_features(found, extractor),
    )


def check_adm(found: AdmStatistics, extractor: FeatureExtractor, size: tuple[int, int]) -> None:
    """Refuse ADM's statistics for another feature network, or for images of another size.

    Raises:
        UserError: they do not go together.
    """
    if extractor.name != "inception-2015" or len(found.mean) != extractor.width:
        raise UserError(
            "a metric cannot be taken against a reference of another feature network",
            found=f"{extractor.name}, {extractor.width} features, against {found.name} with {len(found.mean)}",
            expected="inception-2015 for ADM's published statistics",
            fix='evaluation = { extractor = { kind = "inception-2015" } }',
        )
    if found.images is not None and found.images.size != size:
        raise UserError(
            "a metric cannot be taken against a reference of another resolution",
            found=f"images of {size[1]} x {size[0]} against {found.name}, of {found.images.width} x "
            f"{found.images.height}",
            expected="one resolution on both sides",
            fix="choose the reference of the images' resolution",
        )


def _adm_features(found: AdmStatistics, extractor: FeatureExtractor) -> Tensor:
    images = found.images
    assert images is not None
    facts = {
        "kind": "features",
        "dataset": found.name,
        "dataset_digest": found.digest,
        "resolution": images.height,
        "count": len(images),
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "protocol": extractor.protocol,
    }

    def compute() -> Tensor:
        return torch.cat([extractor.features(batch)[FEATURES].float().cpu() for batch in images.batches(BATCH)])

    return cached_features(facts, len(images), compute)
