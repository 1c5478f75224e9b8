"""TensorFlow's Inception of 2015-12-05, as torch-fidelity carries it over, behind the four resizes in use."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.metrics import weights
from hdit_repro.metrics.extractors import resize
from hdit_repro.metrics.extractors.base import FEATURES, LOGITS, SPATIAL, in_groups
from hdit_repro.metrics.extractors.inception_network import Trunk
from hdit_repro.metrics.torchvision_shim import import_torchvision

WEIGHTS = "inception-2015"
SIDE = 299

Precision = Literal["float32", "bfloat16"]


class Preparation(NamedTuple):
    """What happens to uint8 images before the network sees them (float32 B 3 299 299), and in words."""

    prepare: Callable[[Tensor], Tensor]
    words: str


def _tensorflow(images: Tensor) -> Tensor:
    return (resize.tensorflow1(images, SIDE) - 128) / 128


def _clean(images: Tensor) -> Tensor:
    return (resize.pillow_bicubic(images, SIDE) - 128) / 128


def _legacy_tensorflow(images: Tensor) -> Tensor:
    return (resize.sampled_grid(images, SIDE) - 128) / 128


def _legacy_pytorch(images: Tensor) -> Tensor:
    return resize.torch_bilinear(images, SIDE) / 255 * 2 - 1


PREPARATIONS: dict[str, Preparation] = {
    "inception-2015": Preparation(
        _tensorflow, "uint8, TensorFlow 1 bilinear to 299, (x - 128) / 128; logits without bias"
    ),
    "inception-clean": Preparation(
        _clean, "uint8, Pillow bicubic with antialiasing to 299 in float, clamped, (x - 128) / 128; logits without bias"
    ),
    "inception-legacy-tensorflow": Preparation(
        _legacy_tensorflow, "uint8, sampled grid like TensorFlow 1 to 299, (x - 128) / 128; logits without bias"
    ),
    "inception-legacy-pytorch": Preparation(
        _legacy_pytorch, "uint8, torch bilinear to 299, 2 x / 255 - 1; logits without bias"
    ),
}


class InceptionFeatures:
    """Pooled features of width 2,048, the 1,008 logits without their bias, and ADM's 2,023 spatial features.

    Args:
        state: the network's tensors, with torch-fidelity's names.
        digest: SHA-256 of the file they come from.
        device: where to compute.
        name: which of `PREPARATIONS`.
        precision: of the convolutions. bfloat16 is a protocol of its own, with a name of its own.

    Raises:
        UserError: the tensors are not this network's.
    """

    width = 2048

    def __init__(
        self,
        state: dict[str, Tensor],
        digest: str,
        device: torch.device,
        name: str = "inception-2015",
        precision: Precision = "float32",
    ) -> None:
        self.prepare, self.protocol = PREPARATIONS[name]
        self.name = name
        if precision != "float32":
            self.name, self.protocol = f"{name}-{precision}", f"{self.protocol}; {precision}"
        network = _network(state)
        self.to_logits = network.fc.weight.detach().T.contiguous().to(device)
        self.trunk = Trunk(network, getattr(torch, precision), device)
        self.digest, self.device = digest, device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.features`: features B 2048, logits B 1008, spatial B 2023."""
        return in_groups(images, self.device, self._forward)

    def _forward(self, images: Tensor) -> dict[str, Tensor]:
        pooled, spatial = self.trunk(self.prepare(images))
        return {FEATURES: pooled, LOGITS: pooled @ self.to_logits, SPATIAL: spatial}


class Builder(Protocol):
    """Builds a network on a device."""

    def __call__(self, device: torch.device, precision: Precision = "float32") -> InceptionFeatures: ...


def builder(name: str) -> Builder:
    """What builds the network of protocol `name` with the weights that `hdit-repro weights add` brought in.

    It raises UserError where they are missing or damaged.
    """

    def build(device: torch.device, precision: Precision = "float32") -> InceptionFeatures:
        digest = weights.KNOWN[WEIGHTS].sha256
        return InceptionFeatures(weights.load(WEIGHTS), digest, device, name, precision)

    return build


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
        return FeatureExtractorInceptionV3(WEIGHTS, ["2048"], feature_extractor_weights_path=buffer)
    except RuntimeError as error:
        raise UserError(
            "these tensors are not Inception's",
            found=str(error).splitlines()[0],
            expected="Inception of 2015-12-05, as published",
            fix="hdit-repro weights list names the file; hdit-repro weights add PATH brings it in",
        ) from error
