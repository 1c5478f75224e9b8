"""Statistics and features of the real images of a data set, computed once and cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.ahead import ahead
from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder
from hdit_repro.metrics.cache import alone, keep
from hdit_repro.metrics.extractors.base import FEATURES, FeatureExtractor
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.statistics import Statistics, statistics_of
from hdit_repro.spec.evaluation import REFERENCE_VERSION, SMALLEST_REFERENCE

BATCH = 64
KEY_DIGITS = 24

Progress = Callable[[int, int], None]


class ImageSource(Protocol):
    """The images of a data set: what `hdit_repro.data` opens is one."""

    name: str
    resolution: int
    transform: str

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def batch(self, indices: NDArray[np.int64]) -> Tensor: ...


class DatasetStatistics(NamedTuple):
    """Statistics of a data set's even and odd numbered images, with what they were computed from."""

    even: Statistics
    odd: Statistics
    facts: dict[str, Any]

    @property
    def whole(self) -> Statistics:
        """Of all images."""
        both = Statistics(self.even.width)
        both.merge(self.even)
        both.merge(self.odd)
        return both

    def between_halves(self) -> float:
        """The Frechet distance between the two halves of the real images: how far apart sets of half as many are."""
        return frechet_distance(self.even.mean, self.even.cov, self.odd.mean, self.odd.cov)


def chosen(images: int, count: int | None) -> NDArray[np.int64]:
    """The image numbers of a reference: all, or `count` evenly spaced ones.

    Raises:
        UserError: more images are asked for than there are, or fewer than four (two a half).
    """
    total = images if count is None else count
    if not SMALLEST_REFERENCE <= total <= images:
        raise UserError(
            "a reference of that many images cannot be made",
            found=f"{total:,}",
            expected=f"{SMALLEST_REFERENCE} to {images:,} images",
            fix="name a count in that range, or leave it out for all",
        )
    return _spaced(total, images)


def _spaced(count: int, images: int) -> NDArray[np.int64]:
    """Numbers i * images // count, so that of a data set sorted by class all classes are there."""
    return np.arange(count, dtype=np.int64) * images // count


def dataset_reference(
    images: ImageSource,
    extractor: FeatureExtractor,
    count: int | None = None,
    progress: Progress | None = None,
    output: str = FEATURES,
) -> DatasetStatistics:
    """Statistics of a data set on a feature network, from the cache or computed and cached.

    Args:
        images: the data set at its resolution.
        extractor: the feature network.
        count: how many images, evenly spaced; None is all.
        progress: called with (images done, images in all) while computing.
        output: which of the network's outputs.

    Raises:
        UserError: an image is damaged, or `count` cannot be had.
        RunError: the disk is full.
    """
    numbers = chosen(len(images), count)
    facts = reference_facts(images, extractor, len(numbers), output)
    path = reference_path(facts)
    with alone(path):
        found = _read(path, facts)
        if found is not None:
            return found
        statistics = _compute(images, extractor, numbers, facts, progress, output)
        _write(path, statistics)
    return statistics


def reference_facts(
    images: ImageSource, extractor: FeatureExtractor, count: int, output: str = FEATURES
) -> dict[str, Any]:
    """Everything that a data set's statistics depend on; also what a record says of its reference."""
    return {
        "version": REFERENCE_VERSION,
        "dataset": images.name,
        "dataset_digest": images.digest,
        "resolution": images.resolution,
        "transform": images.transform,
        "count": count,
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "protocol": extractor.protocol,
        **({} if output == FEATURES else {"output": output}),
    }


def reference_path(facts: dict[str, Any]) -> Path:
    """Where statistics with these facts are cached."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
    name = f"{facts['dataset']}-{facts['resolution']}-{facts['extractor']}-{key}.safetensors"
    return cache_folder() / "references" / name


def _compute(
    images: ImageSource,
    extractor: FeatureExtractor,
    numbers: NDArray[np.int64],
    facts: dict[str, Any],
    progress: Progress | None,
    output: str,
) -> DatasetStatistics:
    halves: tuple[Statistics, ...] = ()
    for batch in _features(images, extractor, numbers, progress, output):
        halves = halves or (Statistics(batch.shape[1]), Statistics(batch.shape[1]))
        for parity, half in enumerate(halves):
            half.update(batch[parity::2])  # batches start at even places
    return DatasetStatistics(halves[0], halves[1], facts)


def _features(
    images: ImageSource,
    extractor: FeatureExtractor,
    numbers: NDArray[np.int64],
    progress: Progress | None,
    output: str,
) -> Iterator[Tensor]:
    """Features of images `numbers`, a batch at a time. The next batch is decoded while the network works."""
    parts = [numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH)]
    done = 0
    with closing(ahead(images.batch, parts, 1)) as batches:
        for pixels in batches:
            yield extractor.features(pixels)[output]
            done += len(pixels)
            if progress:
                progress(done, len(numbers))


def dataset_features(
    images: ImageSource, extractor: FeatureExtractor, count: int, progress: Progress | None = None
) -> Tensor:
    """Features of `count` evenly spaced images of a data set, float32 `count` F, from the cache or computed and cached.

    Raises:
        UserError: an image is damaged, or `count` cannot be had.
        RunError: the disk is full.
    """
    numbers = chosen(len(images), count)
    facts = {**reference_facts(images, extractor, count), "kind": "features"}
    return _single_features(images, extractor, numbers, facts, progress)


def _single_features(
    images: ImageSource,
    extractor: FeatureExtractor,
    numbers: NDArray[np.int64],
    facts: dict[str, Any],
    progress: Progress | None,
) -> Tensor:
    """Features of images `numbers`, float32 N F, from the cache under `facts` or computed and cached."""

    def compute() -> Tensor:
        return torch.cat([batch.float().cpu() for batch in _features(images, extractor, numbers, progress, FEATURES)])

    return cached_features(facts, len(numbers), compute)


def floor(
    images: ImageSource, extractor: FeatureExtractor, count: int | None, samples: int, progress: Progress | None = None
) -> float:
    """The Frechet distance of as many real images as there are samples: what samples as good as real ones would show.

    They are evenly spaced among the images outside the reference, or among all where it leaves fewer than `samples`.

    Args:
        images, extractor, count: of the reference, as for `dataset_reference`.
        samples: how many real images stand for samples, two or more; all there are where that is fewer.

    Raises:
        UserError, RunError: as `dataset_reference`.
        ValueError: fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"a distance needs two samples or more, found {samples}")
    target = dataset_reference(images, extractor, count, progress).whole
    left = np.setdiff1d(np.arange(len(images)), chosen(len(images), count))
    pool = left if len(left) >= samples else np.arange(len(images), dtype=np.int64)
    numbers = pool[_spaced(min(samples, len(pool)), len(pool))]
    facts = {**reference_facts(images, extractor, target.count), "kind": "floor", "samples": len(numbers)}
    real = statistics_of(_single_features(images, extractor, numbers, facts, progress))
    return frechet_distance(real.mean, real.cov, target.mean, target.cov)


def cached_features(facts: dict[str, Any], count: int, compute: Callable[[], Tensor]) -> Tensor:
    """Features under the key `facts`, from the cache or computed and cached; a damaged file is redone."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    path = reference_path(facts)
    with alone(path):
        if path.is_file():
            with contextlib.suppress(SafetensorError, OSError, ValueError), safe_open(path, framework="pt") as file:
                stored = json.loads((file.metadata() or {}).get("facts", "null"))
                found: Tensor = file.get_tensor("features")
                if stored == facts and len(found) == count:
                    return found
        features = compute().contiguous()
        keep(path, save({"features": features}, {"facts": json.dumps(facts, sort_keys=True)}))
    return features


def read_reference(path: Path) -> DatasetStatistics:
    """Statistics that were computed and cached here, by their file.

    Raises:
        UserError: it is missing, damaged, or no such file.
    """
    found = _stored(path)
    if found is None or not _told(found):
        raise UserError(
            "these are no statistics of a data set",
            found=str(path),
            expected="a .safetensors file that `hdit-repro reference build` made",
            fix="hdit-repro reference list",
        )
    return found


def _told(found: DatasetStatistics) -> bool:
    """Whether the facts that a comparison rests on are there, each of its type, and the count is that of the images."""
    try:
        facts = msgspec.convert(found.facts, _Facts)
    except msgspec.ValidationError:
        return False
    return facts.count == found.even.count + found.odd.count and facts.resolution > 0


class _Facts(msgspec.Struct):
    """Those of `reference_facts` that a comparison reads."""

    dataset: str
    dataset_digest: str
    resolution: int
    count: int
    extractor: str
    extractor_digest: str
    protocol: str


def _write(path: Path, statistics: DatasetStatistics) -> None:
    from safetensors.numpy import save

    arrays = {**statistics.even.to_arrays("even."), **statistics.odd.to_arrays("odd.")}
    keep(path, save(arrays, metadata={"facts": json.dumps(statistics.facts, sort_keys=True)}))


def _read(path: Path, facts: dict[str, Any]) -> DatasetStatistics | None:
    """What is cached, or None where nothing is, or where it is damaged or of something else (then it is redone)."""
    found = _stored(path)
    if found is None or found.facts != facts or found.even.count + found.odd.count != facts["count"]:
        return None
    return found


def _stored(path: Path) -> DatasetStatistics | None:
    """The statistics in a file, or None where there are none or they are damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
        even, odd = (Statistics.from_arrays(arrays, half) for half in ("even.", "odd."))
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError):
        return None
    return DatasetStatistics(even, odd, facts) if isinstance(facts, dict) else None
