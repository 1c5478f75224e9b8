"""How samples are measured: the protocol. Plain values, no torch."""

from __future__ import annotations

from typing import Literal

from hdit_repro.spec.base import Choice, Spec

# Feature networks. A Frechet distance is called FID on Inception's features only.


class Inception2015(Choice, tag="inception-2015"):
    """TensorFlow's Inception of 2015-12-05 with its in-graph resize: the paper's and ADM's protocol."""


class EfficientNetLite0(Choice, tag="efficientnet-lite0"):
    """EfficientNet-Lite0 (ImageNet), 1,280 pooled features; comes from the package index, needs no download."""


Extractor = Inception2015 | EfficientNetLite0

# What the samples are compared with.


class DatasetReference(Choice, tag="dataset"):
    """The run's own data set at its resolution, brought there by its transform; `count` of None is all of it."""

    count: int | None = None


class AdmReference(Choice, tag="adm"):
    """One of ADM's published statistics files, by name (VIRTUAL_imagenet128_labeled)."""

    name: str


Reference = DatasetReference | AdmReference


class Evaluation(Spec):
    """Metrics of one set of samples on one feature network against one reference."""

    extractor: Extractor
    reference: Reference
    metrics: tuple[Literal["frechet", "inception-score"], ...] = ("frechet",)


FRECHET_NAMES = {"inception-2015": "fid", "efficientnet-lite0": "fd-efficientnet-lite0"}
"""The Frechet distance's name on each extractor."""
