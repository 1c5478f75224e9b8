"""From features and a reference to metrics under names that tell their protocol and sample count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.metrics.extractors.base import FEATURES, LOGITS, SPATIAL
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.inception_score import (
    InceptionScore,
    adm_inception_score,
    sorted_by_class,
    ten_parts_inception_score,
)
from hdit_repro.metrics.infinity import frechet_curve
from hdit_repro.metrics.intervals import Interval, fraction_interval, frechet_interval
from hdit_repro.metrics.kernel import KernelDistance, kernel_distance, kernel_distance_chunks
from hdit_repro.metrics.precision_recall import precision_recall
from hdit_repro.metrics.statistics import Array, statistics_of
from hdit_repro.records.schema import Metric, metric_name
from hdit_repro.spec.evaluation import MetricKind, metric_names
from hdit_repro.stages.reference import LoadedReference


class Sides(NamedTuple):
    """What a metric is made of: the samples' features by output, and the reference."""

    samples: Mapping[str, Tensor]
    reference: LoadedReference

    def real(self) -> Tensor:
        """Features of single real images.

        Raises:
            UserError: the reference holds statistics only.
        """
        if self.reference.features is None:
            raise UserError(
                "this metric needs single real images, and the reference holds statistics only",
                found=self.reference.described.name,
                expected="a reference with images: a data set, or one of ADM's files with arr_0",
                fix="leave the metric out, or name such a reference",
            )
        return self.reference.features()


Measure = Callable[[Sides], list[Metric]]
"""Gives one metric for each name that `metric_names` knows, in that order."""


def _frechet(sides: Sides) -> list[Metric]:
    return _distance(sides.samples[FEATURES], sides.reference.mean, sides.reference.cov)


def _spatial(sides: Sides) -> list[Metric]:
    if sides.reference.spatial is None:
        raise UserError(
            "the reference holds no spatial statistics",
            found=sides.reference.described.name,
            expected="a data set, or one of ADM's files with mu_s and sigma_s",
            fix="leave spatial-frechet out, or bring in such a file: hdit-repro reference add PATH",
        )
    return _distance(sides.samples[SPATIAL], *sides.reference.spatial())


def _distance(features: Tensor, mean: Array, cov: Array) -> list[Metric]:
    ours = statistics_of(features)
    value = frechet_distance(ours.mean, ours.cov, mean, cov)
    return [_metric(value, frechet_interval(features, value, mean, cov))]


def _infinity(sides: Sides) -> list[Metric]:
    curve = frechet_curve(sides.samples[FEATURES], sides.reference.mean, sides.reference.cov)
    return [Metric(value=curve.infinity)]


def _adm_score(sides: Sides) -> list[Metric]:
    logits = sides.samples[LOGITS]
    score, parts = adm_inception_score(logits), "parts of 5,000"
    if shuffled := sorted_by_class(logits, score):
        parts = f"{parts} in order, by which the images are sorted by class: {shuffled.mean:.4g} after a shuffle"
    return [_score(score, parts)]


def _ten_parts_score(sides: Sides) -> list[Metric]:
    return [_score(ten_parts_inception_score(sides.samples[LOGITS]), "ten parts")]


def _kernel(sides: Sides) -> list[Metric]:
    ours, real = sides.samples[FEATURES], sides.real()
    return [_spread(kernel_distance(ours, real), max(len(ours), len(real)))]


def _kernel_chunks(sides: Sides) -> list[Metric]:
    ours, real = sides.samples[FEATURES], sides.real()
    return [_spread(kernel_distance_chunks(ours, real), max(len(ours), len(real)))]


def _precision_recall(sides: Sides) -> list[Metric]:
    found = precision_recall(sides.samples[FEATURES], sides.real())
    return [
        _metric(found.precision, fraction_interval(found.precision, found.samples, "real manifold held fixed")),
        _metric(found.recall, fraction_interval(found.recall, found.real, "samples' manifold held fixed")),
    ]


MEASURES: dict[MetricKind, Measure] = {
    "frechet": _frechet,
    "spatial-frechet": _spatial,
    "frechet-infinity": _infinity,
    "inception-score": _adm_score,
    "inception-score-ten-parts": _ten_parts_score,
    "kernel": _kernel,
    "kernel-chunks": _kernel_chunks,
    "precision-recall": _precision_recall,
}


def measure(
    kinds: Iterable[MetricKind], extractor: str, sides: Sides, asked: int, base: str | None = None
) -> dict[str, Metric]:
    """The metrics `kinds` on features of `extractor`.

    Args:
        kinds: which metrics.
        extractor: name of the feature network, as metrics are named after it.
        sides: samples and reference.
        asked: how many samples a plain name stands for; with another number, names end in `@COUNT`.
        base: for messages, what asked for the metrics.

    Raises:
        UserError: a metric is not defined on this network, or the samples or the reference cannot give what it needs.
    """
    count = len(sides.samples[FEATURES])
    found: dict[str, Metric] = {}
    for kind in kinds:
        names = metric_names(kind, extractor)
        if not names:
            raise UserError(
                f"{kind} is not defined on this feature network",
                found=f"extractor {extractor}" + (f" in {base}" if base else ""),
                expected="inception-2015",
                fix=f'leave "{kind}" out of evaluation.metrics, or change the extractor',
            )
        with taught(kind):
            for name, metric in zip(names, MEASURES[kind](sides), strict=True):
                found[metric_name(name, count, asked)] = metric
    return found


@contextlib.contextmanager
def taught(kind: str) -> Iterator[None]:
    """Turn what a metric's function says of its arguments (too few samples, NaN) into an error of the request."""
    try:
        yield
    except ValueError as error:
        raise UserError(
            str(error),
            found=f"the features that {kind} was asked of",
            expected="finite features of enough samples",
            fix=f"draw more samples, or leave {kind} out",
        ) from error


def _metric(value: float, interval: Interval | None) -> Metric:
    if interval is None:
        return Metric(value=value)
    return Metric(value=value, low=interval.low, high=interval.high, interval=interval.how)


def _score(score: InceptionScore, parts: str) -> Metric:
    """With the scatter of its parts, where they are several."""
    if score.parts < 2:
        return Metric(value=score.mean)
    low, high = score.mean - score.std, score.mean + score.std
    return Metric(value=score.mean, low=low, high=high, interval=f"± one standard deviation over {parts}")


def _spread(distance: KernelDistance, images: int) -> Metric:
    """With the scatter of the subsets, where they are more than the same images again and again."""
    if distance.subsets < 2 or distance.size >= images:
        return Metric(value=distance.mean)
    return Metric(
        value=distance.mean,
        low=distance.mean - distance.std,
        high=distance.mean + distance.std,
        interval=f"± one standard deviation over {distance.subsets} subsets of {distance.size}",
    )
