"""TensorFlow's Inception of 2015-12-05, as torch-fidelity carries it over: the features of FID proper."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.metrics import weights
from hdit_repro.metrics.extractors.base import FEATURES, LOGITS, fold_norm, in_groups
from hdit_repro.metrics.torchvision_shim import import_torchvision

OUTPUTS = ("2048", "logits_unbiased")
"""torch-fidelity's names: ADM's pool_3 features, and logits without their bias, as ADM's Inception score takes them."""


class Inception2015Features:
    """Pooled features of width 2,048, and the 1,008 logits without their bias.

    The resize to 299 is the one inside TensorFlow's graph: bilinear, corners not aligned, no antialiasing.

    Args:
        state: the network's tensors, with torch-fidelity's names.
        digest: SHA-256 of the file they come from.
        device: where to compute.

    Raises:
        UserError: the tensors are not this network's.
    """

    name = "inception-2015"
    width = 2048
    protocol = "uint8, TensorFlow 1 bilinear to 299, (x - 128) / 128; logits without bias"

    def __init__(self, state: dict[str, Tensor], digest: str, device: torch.device) -> None:
        network = _network(state)
        for module in network.modules():
            if hasattr(module, "conv") and hasattr(module, "bn"):
                fold_norm(module, "conv", "bn")
        self.network = network.to(device, memory_format=torch.channels_last)
        self.digest, self.device = digest, device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.features`: features B 2048, logits B 1008."""
        return in_groups(images, self.device, self._forward)

    def _forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip((FEATURES, LOGITS), self.network(images), strict=True))


def build(device: torch.device) -> Inception2015Features:
    """The network with the weights that `hdit-repro weights add` brought in.

    Raises:
        UserError: they are missing or damaged.
    """
    name = Inception2015Features.name
    return Inception2015Features(weights.load(name), weights.KNOWN[name].sha256, device)


def _network(state: dict[str, Tensor]) -> Any:
    """torch-fidelity's module with `state` in it.

    Its constructor unpickles whatever file it is given. It is given the tensors that were read safely, packed again.
    """
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-2015", list(OUTPUTS), feature_extractor_weights_path=buffer)
    except RuntimeError as error:
        raise UserError("these tensors are not Inception's", found=str(error).splitlines()[0]) from error
