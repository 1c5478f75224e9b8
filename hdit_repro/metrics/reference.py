"""Statistics of real images: of a data set, computed once and cached; and ADM's published files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.files import cache_folder, lock, sha256_file, write_bytes
from hdit_repro.metrics.extractors.base import FEATURES, FeatureExtractor
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.statistics import Array, Statistics

VERSION = 1
"""Raised when the numbers of a reference change, so that none of before is used."""

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

    def floor(self) -> float:
        """The Frechet distance between the two halves of the real images: how near to zero a distance can come with
        half as many images."""
        return frechet_distance(self.even.mean, self.even.cov, self.odd.mean, self.odd.cov)


def chosen(images: int, count: int | None) -> NDArray[np.int64]:
    """The image numbers of a reference: all, or `count` evenly spaced ones (i * images // count), so that a data set
    sorted by class keeps its classes.

    Raises:
        UserError: more images are asked for than there are, or fewer than four (two a half).
    """
    total = images if count is None else count
    if not 4 <= total <= images:
        raise UserError(
            "a reference of that many images cannot be made", found=f"{total:,}", expected=f"4 to {images:,} images"
        )
    return np.arange(total, dtype=np.int64) * images // total


def dataset_reference(
    images: ImageSource, extractor: FeatureExtractor, count: int | None = None, progress: Progress | None = None
) -> DatasetStatistics:
    """Statistics of a data set on a feature network, from the cache or computed and cached.

    Args:
        images: the data set at its resolution.
        extractor: the feature network.
        count: how many images, evenly spaced; None is all.
        progress: called with (images done, images in all) while computing.

    Raises:
        UserError: an image is damaged, or `count` cannot be had.
        RunError: the disk is full.
    """
    numbers = chosen(len(images), count)
    facts = reference_facts(images, extractor, len(numbers))
    path = reference_path(facts)
    with lock(path.with_suffix(".lock")):
        found = _read(path, facts)
        if found is not None:
            return found
        statistics = _compute(images, extractor, numbers, facts, progress)
        _write(path, statistics)
    return statistics


def reference_facts(images: ImageSource, extractor: FeatureExtractor, count: int) -> dict[str, Any]:
    """Everything that a data set's statistics depend on; also what a record says of its reference."""
    return {
        "version": VERSION,
        "dataset": images.name,
        "dataset_digest": images.digest,
        "resolution": images.resolution,
        "transform": images.transform,
        "count": count,
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "protocol": extractor.protocol,
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
) -> DatasetStatistics:
    halves = Statistics(extractor.width), Statistics(extractor.width)
    for first in range(0, len(numbers), BATCH):
        features = extractor.features(images.batch(numbers[first : first + BATCH]))[FEATURES]
        for parity, half in enumerate(halves):
            half.update(features[parity::2])  # batches start at even places
        if progress:
            progress(min(first + BATCH, len(numbers)), len(numbers))
    return DatasetStatistics(*halves, facts)


def _write(path: Path, statistics: DatasetStatistics) -> None:
    from safetensors.numpy import save

    arrays = {**statistics.even.to_arrays("even."), **statistics.odd.to_arrays("odd.")}
    write_bytes(path, save(arrays, metadata={"facts": json.dumps(statistics.facts, sort_keys=True)}))


def _read(path: Path, facts: dict[str, Any]) -> DatasetStatistics | None:
    """What is cached, or None where nothing is, or where it is damaged or of something else (then it is redone)."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored = json.loads((file.metadata() or {}).get("facts", "null"))
        even, odd = (Statistics.from_arrays(arrays, half) for half in ("even.", "odd."))
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    if stored != facts or even.count + odd.count != facts["count"]:
        return None
    return DatasetStatistics(even, odd, facts)


class AdmStatistics(NamedTuple):
    """A published reference: mean float64 2048, covariance float64 2048 2048, the file's name and SHA-256."""

    mean: Array
    cov: Array
    name: str
    digest: str


def adm_folder() -> Path:
    """Where ADM's files lie."""
    return cache_folder() / "references" / "adm"


def add_adm(path: Path | str) -> Path:
    """Copy one of ADM's reference files (keys mu, sigma) into the cache. Its name is the file's, without .npz.

    Raises:
        UserError: no such file, or none with statistics; nothing is written.
        RunError: the disk is full.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise UserError("this is no reference of ADM's", found=str(path), expected="an .npz file with mu and sigma")
    target = _adm_path(path.stem)
    _read_adm(path)
    with lock(target.with_suffix(".lock")):
        if not (target.is_file() and sha256_file(target) == sha256_file(path)):
            write_bytes(target, path.read_bytes())
    return target


def adm_reference(name: str) -> AdmStatistics:
    """ADM's statistics by name (VIRTUAL_imagenet128_labeled).

    Raises:
        UserError: it was not added, or is damaged.
    """
    path = _adm_path(name)
    if not path.is_file():
        raise UserError(
            f"the reference {name!r} is missing",
            found=f"no {path}",
            expected=f"{name}.npz, which ADM's authors publish (openai/guided-diffusion, evaluations)",
            fix="hdit-repro reference add PATH",
        )
    mean, cov = _read_adm(path)
    return AdmStatistics(mean, cov, name, sha256_file(path))


def _adm_path(name: str) -> Path:
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise UserError("a reference has a plain name", found=repr(name), expected="letters, digits, '-', '_' and '.'")
    return adm_folder() / f"{name}.npz"


def _read_adm(path: Path) -> tuple[Array, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, cov = np.asarray(file["mu"], np.float64), np.asarray(file["sigma"], np.float64)
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            "a reference cannot be read", found=f"{path}: {error}", expected="an .npz file with mu and sigma"
        ) from error
    if (
        mean.ndim != 1
        or cov.shape != (mean.size, mean.size)
        or not (np.isfinite(mean).all() and np.isfinite(cov).all())
    ):
        raise UserError(
            "a reference holds no statistics",
            found=f"{path}: mu {mean.shape}, sigma {cov.shape}",
            expected="finite values: mu D, sigma D D",
        )
    return mean, cov
