"""The Inception score (Salimans et al., 2016), by the two protocols in use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdit_repro.metrics.statistics import as_float64

ADM_PART = 5_000


class InceptionScore(NamedTuple):
    """Mean and standard deviation (population) over the parts, and how many these were: of one, the deviation is 0 and
    tells nothing."""

    mean: float
    std: float
    parts: int


def inception_score(logits: Any, splits: int = 10) -> InceptionScore:
    """exp of the mean divergence KL(p(y | x) || p(y)), over `splits` equal parts in the order given.

    Args:
        logits: N classes, a tensor or an array. For the published protocol, Inception's without bias. Logarithms of
            probabilities are logits too.
        splits: number of parts; where it does not divide N, parts differ by one.

    Raises:
        ValueError: another shape, fewer images than parts, or values that are not finite.
    """
    log_p = _log_probabilities(logits)
    if not 1 <= splits <= len(log_p):
        raise ValueError(f"{len(log_p)} images cannot be split into {splits} parts")
    return _score([log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits] for i in range(splits)])


def adm_inception_score(logits: Any) -> InceptionScore:
    """The Inception score of ADM's evaluation: parts of 5,000 images in order, the last one as long as it comes.

    Source: guided-diffusion, evaluations/evaluator.py. Its logits leave out the bias.

    Args:
        logits: N classes, Inception's without bias.

    Raises:
        ValueError: another shape, no image, or values that are not finite.
    """
    log_p = _log_probabilities(logits)
    return _score([log_p[start : start + ADM_PART] for start in range(0, len(log_p), ADM_PART)])


TEN_PARTS_SEED = 2020
"""torch-fidelity's, by which it shuffles the images before it splits them."""


def ten_parts_inception_score(logits: Any) -> InceptionScore:
    """The usual Inception score: ten equal parts after a shuffle, which is torch-fidelity's.

    Without the shuffle, images sorted by class would fall into parts of a few classes each, and the score with them.

    Args:
        logits: N classes.

    Raises:
        ValueError: another shape, fewer than ten images, or values that are not finite.
    """
    return inception_score(_shuffled(logits), 10)


SORTED = 0.9
"""Images whose score by ADM's protocol is below this share of what it is after a shuffle count as sorted by class."""


def sorted_by_class(logits: Any, score: InceptionScore) -> InceptionScore | None:
    """The score by ADM's protocol after a shuffle, where the order of the images is what makes `score` low; else None.

    ADM's parts are taken in order, which is meant for images of random classes. Names in a folder are often sorted by
    class; parts then hold a few classes each.

    Raises:
        ValueError: as `adm_inception_score`.
    """
    if len(logits) <= ADM_PART:
        return None
    shuffled = adm_inception_score(_shuffled(logits))
    return shuffled if score.mean < SORTED * shuffled.mean else None


def _shuffled(logits: Any) -> NDArray[np.float64]:
    values = as_float64(logits)
    return np.asarray(values[np.random.RandomState(TEN_PARTS_SEED).permutation(len(values))])


def _log_probabilities(logits: Any) -> NDArray[np.float64]:
    values = as_float64(logits)
    if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"finite logits N x classes are needed, found {values.shape}")
    shifted = values - values.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _score(parts: list[NDArray[np.float64]]) -> InceptionScore:
    scores = []
    for log_p in parts:
        p = np.exp(log_p)
        marginal = p.mean(axis=0)
        log_marginal = np.log(np.maximum(marginal, np.finfo(np.float64).tiny))
        scores.append(np.exp((p * (log_p - log_marginal)).sum(axis=1).mean()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), len(scores))
