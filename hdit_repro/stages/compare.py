"""Two sets of images, or of their statistics, under any protocols: what `hdit-repro fid` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.metrics.adm import AdmStatistics, read_statistics
from hdit_repro.metrics.extractors import FeatureExtractor
from hdit_repro.metrics.extractors.base import FEATURES, SPATIAL
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.infinity import Curve, frechet_curve
from hdit_repro.metrics.npz import ARRAY, arrays_in
from hdit_repro.metrics.reference import DatasetStatistics, read_reference
from hdit_repro.metrics.statistics import statistics_of
from hdit_repro.records.schema import PAPER_SAMPLES, Metric, Reference, metric_name
from hdit_repro.spec.evaluation import MetricKind, metric_names
from hdit_repro.stages.imagesets import ImageSet, open_images, refuse_single
from hdit_repro.stages.measure import Sides, measure, taught
from hdit_repro.stages.reference import LoadedReference, Stats, adm_target, check_adm

KEPT = 100_000
"""Images of a reference whose features are held in memory (a gibibyte and a half of Inception's)."""

UNKNOWN = "unknown"
"""In place of a number of samples, where saved statistics do not say how many they are of."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a set, images done, images in all."""


class Side(NamedTuple):
    """One side: images, ADM's statistics (mu, sigma), a data set's cached ones; images and statistics may be both."""

    name: str
    images: ImageSet | None = None
    saved: AdmStatistics | None = None
    cached: DatasetStatistics | None = None


class Row(NamedTuple):
    """One line of the table: a protocol, a metric's name, its value or a note why there is none."""

    protocol: str
    metric: str
    value: Metric | None
    note: str = ""


def open_side(path: Path, workers: int = 0) -> Side:
    """What lies under `path`: a folder, a zip, an .npz (images, statistics or both), or a cached .safetensors.

    Raises:
        UserError: nothing is there, or it is refused.
    """
    if path.suffix.lower() == ".safetensors":
        return Side(str(path), cached=read_reference(path))
    if path.suffix.lower() == ".npz" and path.is_file():
        names = arrays_in(path)
        saved = read_statistics(path) if "mu" in names else None
        if saved is None and ARRAY not in names:
            raise UserError(
                "an .npz holds neither images nor statistics",
                found=str(path),
                expected="arr_0, or mu and sigma",
                fix="np.savez(PATH, arr_0=images), or mu and sigma",
            )
        return Side(str(path), open_images(path) if ARRAY in names else None, saved)
    return Side(str(path), open_images(path, workers))


def check_sizes(a: Side, b: Side) -> None:
    """Refuse two sizes, of images or of those behind cached statistics.

    Raises:
        UserError: the sides differ.
    """
    sizes = side_size(a), side_size(b)
    if None not in sizes and sizes[0] != sizes[1]:
        images = a.images is not None and b.images is not None
        raise UserError(
            "images of two sizes are compared by resizing one side, and that moves the number"
            if images
            else "a metric cannot be taken against a reference of another resolution",
            found="; ".join(
                f"{side.name}: {size[1]} x {size[0]}" for side, size in zip((a, b), sizes, strict=True) if size
            )
            + " (width x height)",
            expected="one size on both sides",
            fix="bring one side to the other's size first, and say how"
            if images
            else "hdit-repro reference build, at the other side's resolution",
        )


def check_network(a: Side, b: Side, extractor: FeatureExtractor) -> None:
    """Refuse saved statistics of another feature network or of another size, before any feature is computed.

    Raises:
        UserError: a side does not go with this network.
    """
    for side, other in ((a, b), (b, a)):
        if side.cached is not None:
            _cached(side.cached, side.name, extractor)
        elif side.saved is not None and (side is b or side.images is None):
            _check_width(side.saved, extractor)
            if side.saved.spatial is not None:
                check_adm(side.saved, extractor, (other.images and other.images.size) or _own_size(side.saved))


def side_size(side: Side) -> tuple[int, int] | None:
    """Height and width of a side's images; None of statistics that do not say."""
    if side.images is not None:
        return side.images.size
    if side.cached is not None:
        return (int(side.cached.facts["resolution"]),) * 2
    return None


def compare(
    a: Side,
    b: Side,
    extractor: FeatureExtractor,
    protocol: str,
    kinds: Sequence[MetricKind],
    batch: int,
    progress: Progress,
) -> tuple[list[Row], dict[str, Tensor] | None, LoadedReference]:
    """The metrics `kinds` of samples `a` against the reference `b` on one feature network.

    Metrics that a side cannot give (those of single images, of a side that is statistics) have a note for a value.

    Returns:
        The rows; the samples' features, where there are images; the reference.

    Raises:
        UserError: an image is refused, or saved statistics are of another feature network or size.
    """
    check_network(a, b, extractor)
    target = _target(b, extractor, batch, progress)
    if a.images is None:
        return _of_statistics(a, extractor, target, protocol, kinds), None, target
    features = gather(a.images, extractor, batch, progress)
    rows: list[Row] = []
    for kind in kinds:
        names = metric_names(kind, protocol)
        if not names:
            rows.append(Row(extractor.name, kind, None, f"not defined on {protocol}"))
            continue
        try:
            found = measure([kind], protocol, Sides(features, target), PAPER_SAMPLES)
        except UserError as error:
            rows += [Row(extractor.name, own_name(name, extractor, protocol), None, error.problem) for name in names]
        else:
            rows += [Row(extractor.name, own_name(name, extractor, protocol), metric) for name, metric in found.items()]
    return rows, features, target


def own_name(metric: str, extractor: FeatureExtractor, protocol: str) -> str:
    """A metric's name with the precision of its network, where this is another one's: "fid-bfloat16@40"."""
    base, at, count = metric.partition("@")
    return f"{base}{extractor.name.removeprefix(protocol)}{at}{count}"


def curve_of(features: dict[str, Tensor], target: LoadedReference) -> Curve:
    """How the Frechet distance falls with the number of samples.

    Raises:
        UserError: fewer than 20 samples.
    """
    with taught("the curve"):
        return frechet_curve(features[FEATURES], target.mean, target.cov)


def gather(images: ImageSet, extractor: FeatureExtractor, batch: int, progress: Progress) -> dict[str, Tensor]:
    """All features of a set by output, in order: each N x width, float32 on the CPU."""
    parts: list[dict[str, Tensor]] = []
    done = 0
    for pixels in images.batches(batch):
        parts.append({name: value.float().cpu() for name, value in extractor.features(pixels).items()})
        done += len(pixels)
        progress(images.name, done, images.count)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _target(side: Side, extractor: FeatureExtractor, batch: int, progress: Progress) -> LoadedReference:
    """A side as a reference."""
    if side.saved is not None:
        count = 0 if side.images is None else side.images.count
        resolution = 0 if side.images is None else side.images.size[0]
        described = _described(side.name, "statistics", side.saved.digest, count, resolution)
        return adm_target(side.saved, extractor, described)
    if side.cached is not None:
        mean, cov = _cached(side.cached, side.name, extractor)
        facts = side.cached.facts
        digest, count = str(facts["dataset_digest"]), int(facts["count"])
        described = _described(side.name, "dataset", digest, count, int(facts["resolution"]))
        return LoadedReference(mean, cov, described)
    assert side.images is not None
    described = _described(side.name, "images", side.images.digest, side.images.count, side.images.size[0])
    return _of_images(side.images, extractor, described, batch, progress)


def _of_images(
    images: ImageSet, extractor: FeatureExtractor, described: Reference, batch: int, progress: Progress
) -> LoadedReference:
    if images.count > KEPT:
        raise UserError(
            f"a reference of more than {KEPT:,} images is not held in memory",
            found=f"{images.count:,} images in {images.name}",
            expected="its statistics, made once",
            fix=f"of a published data set name the file that `hdit-repro reference build imagenet --resolution "
            f"{images.size[0]} --extractor {extractor.name}` prints; of other images name {KEPT:,} or fewer",
        )
    refuse_single(images)
    features = gather(images, extractor, batch, progress)
    whole = statistics_of(features[FEATURES])

    def spatial() -> Stats:
        found = statistics_of(features[SPATIAL])
        return found.mean, found.cov

    return LoadedReference(
        whole.mean, whole.cov, described, None, spatial if SPATIAL in features else None, lambda: features[FEATURES]
    )


def _statistics(side: Side, extractor: FeatureExtractor) -> Stats:
    """Mean and covariance of a side that has no images."""
    if side.cached is not None:
        return _cached(side.cached, side.name, extractor)
    assert side.saved is not None
    return side.saved.mean, side.saved.cov


def _of_statistics(
    side: Side, extractor: FeatureExtractor, target: LoadedReference, protocol: str, kinds: Sequence[MetricKind]
) -> list[Row]:
    ours, rows = _statistics(side, extractor), []
    for kind in kinds:
        if not metric_names(kind, protocol):
            rows.append(Row(extractor.name, kind, None, f"not defined on {protocol}"))
        for name in (own_name(name, extractor, protocol) for name in metric_names(kind, protocol)):
            if kind == "frechet":
                rows.append(_distance(_counted(name, side), ours, extractor, target))
            else:
                note = "needs images; saved statistics give Frechet distances only"
                rows.append(Row(extractor.name, name, None, note))
    return rows


def _distance(name: str, ours: Stats, extractor: FeatureExtractor, target: LoadedReference) -> Row:
    """The row of a distance between two sets of statistics; a note where one of them is none, or too large a one."""
    try:
        value = Metric(value=frechet_distance(*ours, target.mean, target.cov))
    except ValueError as error:
        return Row(extractor.name, name, None, str(error))
    return Row(extractor.name, name, value, "from saved statistics")


def _counted(name: str, side: Side) -> str:
    """The name of a distance from statistics: a plain one stands for 50,000 samples, and no file may borrow it."""
    if side.cached is None:
        return f"{name}@{UNKNOWN}"
    return metric_name(name, int(side.cached.facts["count"]), PAPER_SAMPLES)


def _cached(found: DatasetStatistics, name: str, extractor: FeatureExtractor) -> Stats:
    facts = found.facts
    theirs, ours = (facts["extractor"], facts["extractor_digest"]), (extractor.name, extractor.digest)
    if theirs != ours or facts["protocol"] != extractor.protocol:
        raise UserError(
            "a metric cannot be taken against a reference of another feature network",
            found=f"{extractor.name} ({extractor.digest[:8]}) against {name}, of {theirs[0]} ({theirs[1][:8]})",
            expected="one network, with one set of weights, on both sides",
            fix=f"use --protocol {theirs[0]}, or: hdit-repro reference build ... --extractor {extractor.name}",
        )
    whole = found.whole
    return whole.mean, whole.cov


def _check_width(saved: AdmStatistics, extractor: FeatureExtractor) -> None:
    if len(saved.mean) != extractor.width:
        raise UserError(
            "a metric cannot be taken against a reference of another feature network",
            found=f"{extractor.name}, {extractor.width} features, against {saved.name} with {len(saved.mean)}",
            expected="statistics of the same network",
            fix="compute the statistics on this network: hdit-repro reference build DATASET --extractor NAME",
        )


def _own_size(saved: AdmStatistics) -> tuple[int, int]:
    return (0, 0) if saved.images is None else saved.images.size


def _described(name: str, kind: str, digest: str, count: int, resolution: int) -> Reference:
    return Reference(
        kind=kind, name=name, digest=digest, count=count, split="", resolution=resolution, transform="none"
    )
