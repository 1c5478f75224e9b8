"""The feature networks by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hdit_repro.metrics.extractors import efficientnet, inception
from hdit_repro.metrics.extractors.base import FeatureExtractor
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.evaluation import Extractor

EXTRACTORS: dict[str, Callable[[torch.device], FeatureExtractor]] = {
    "inception-2015": inception.build,
    "efficientnet-lite0": efficientnet.build,
}

__all__ = ["EXTRACTORS", "FeatureExtractor", "build_extractor"]


def build_extractor(extractor: Extractor, device: torch.device | str = "cpu") -> FeatureExtractor:
    """The feature network of a protocol, with its trained weights, on `device`.

    Raises:
        UserError: its weights are missing or damaged.
    """
    return EXTRACTORS[kind_of(extractor)](torch.device(device))
