"""TensorFlow's Inception of 2015-12-05, as torch-fidelity carries it over, behind the five resizes in use."""

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
    """What happens to uint8 images before the network sees them, and in words.

    `resize` gives grey values in float32, B 3 299 299; with `ahead` it is Pillow's, which takes no card and is done for
    the next images while the network works. `scale` brings them to about [-1, 1].
    """

    resize: Callable[[Tensor, int], Tensor]
    scale: Callable[[Tensor], Tensor]
    words: str
    ahead: bool = False

    def resized(self, images: Tensor) -> Tensor:
        """uint8 B 3 H W to grey values, float32 B 3 299 299."""
        return self.resize(images, SIDE)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 B 3 H W to what the network sees, float32 B 3 299 299."""
        return self.scale(self.resized(images))


def _by_128(grey: Tensor) -> Tensor:
    return (grey - 128) / 128


def _by_255(grey: Tensor) -> Tensor:
    return grey / 255 * 2 - 1


PREPARATIONS: dict[str, Preparation] = {
    "inception-2015": Preparation(
        resize.tensorflow1, _by_128, "uint8, TensorFlow 1 bilinear to 299, (x - 128) / 128; logits without bias"
    ),
    "inception-clean": Preparation(
        resize.pillow_bicubic,
        _by_128,
        "uint8, Pillow bicubic with antialiasing to 299 in float, clamped, (x - 128) / 128; logits without bias",
        ahead=True,
    ),
    "inception-legacy-tensorflow": Preparation(
        resize.sampled_grid,
        _by_128,
        "uint8, sampled grid like TensorFlow 1 to 299, (x - 128) / 128; logits without bias",
    ),
    "inception-legacy-pytorch": Preparation(
        resize.torch_bilinear, _by_255, "uint8, torch bilinear to 299, 2 x / 255 - 1; logits without bias"
    ),
    "inception-k-diffusion": Preparation(
        resize.torch_bicubic_clamped,
        _by_128,
        "uint8, torch bicubic with antialiasing to 299 in float, clamped, (x - 128) / 128; logits without bias",
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
        self.preparation = PREPARATIONS[name]
        self.name, self.protocol = name, self.preparation.words
        if precision != "float32":
            self.name, self.protocol = f"{name}-{precision}", f"{self.protocol}; {precision}"
        network = _network(state)
        self.to_logits = network.fc.weight.detach().T.contiguous().to(device)
        self.trunk = Trunk(network, getattr(torch, precision), device)
        self.digest, self.device = digest, device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.features`: features B 2048, logits B 1008, spatial B 2023."""
        first = self.preparation
        if first.ahead:
            return in_groups(images, self.device, lambda grey: self._forward(first.scale(grey)), first.resized)
        return in_groups(images, self.device, lambda group: self._forward(first.prepare(group)))

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 B 3 H W to what the network sees, float32 B 3 299 299."""
        return self.preparation.prepare(images)

    def _forward(self, seen: Tensor) -> dict[str, Tensor]:
        pooled, spatial = self.trunk(seen)
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
