"""The feature networks by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hdit_repro.errors import UserError, pick
from hdit_repro.metrics.extractors import dinov2, efficientnet, inception
from hdit_repro.metrics.extractors.base import FeatureExtractor
from hdit_repro.metrics.extractors.inception import Precision
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import Extractor

EXTRACTORS: dict[str, Callable[[torch.device], FeatureExtractor]] = {
    "inception-2015": inception.builder("inception-2015"),
    "inception-clean": inception.builder("inception-clean"),
    "inception-legacy-tensorflow": inception.builder("inception-legacy-tensorflow"),
    "inception-legacy-pytorch": inception.builder("inception-legacy-pytorch"),
    "inception-k-diffusion": inception.builder("inception-k-diffusion"),
    "dinov2-vitl14-raw": dinov2.builder("dinov2-vitl14-raw"),
    "dinov2-vitl14-normalised": dinov2.builder("dinov2-vitl14-normalised"),
    "efficientnet-lite0": efficientnet.build,
}

__all__ = ["EXTRACTORS", "FeatureExtractor", "Precision", "build_extractor", "extractor_by_name"]


def build_extractor(extractor: Extractor, device: torch.device | str = "cpu") -> FeatureExtractor:
    """The feature network of a protocol, with its trained weights, on `device`.

    Raises:
        UserError: its weights are missing or damaged.
    """
    return extractor_by_name(kind_of(extractor), device)


def extractor_by_name(
    name: str, device: torch.device | str = "cpu", precision: Precision = "float32"
) -> FeatureExtractor:
    """The same by the protocol's name, in a precision, which is a protocol of its own where it is not float32.

    Raises:
        UserError: its weights are missing or damaged, or it is not made for that precision.
    """
    build = pick(EXTRACTORS, name, kind="protocol")
    if precision == "float32":
        return build(torch.device(device))
    if name not in inception.PREPARATIONS:
        raise UserError(
            f"{name} runs in float32 only",
            found=precision,
            expected="an Inception protocol, or float32",
            fix="leave --precision out",
        )
    return inception.builder(name)(torch.device(device), precision)
