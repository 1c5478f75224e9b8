"""Random weights for Inception, so that its code can be tested and timed where the trained ones are not at hand."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from hdit_repro.metrics.torchvision_shim import import_torchvision


def random_state() -> dict[str, Tensor]:
    """Tensors under torch-fidelity's names, drawn so that signals neither die nor explode, norms included."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
        """The network as it is before weights are loaded."""

        def load_state_dict(self, *_: object, **__: object) -> None: ...

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    network = Unloaded("random", ["2048"], feature_extractor_weights_path=empty)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
        if isinstance(module, nn.BatchNorm2d):
            _draw_norm(module, generator)
        if isinstance(module, nn.Linear):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.01)
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return {name: value.clone() for name, value in network.state_dict().items()}


def _draw_norm(norm: nn.BatchNorm2d, generator: torch.Generator) -> None:
    for tensor, shift in ((norm.weight, 1.0), (norm.running_var, 1.0), (norm.bias, 0.1)):
        assert tensor is not None
        tensor.copy_(shift + 0.2 * torch.rand(tensor.shape, generator=generator))
    assert norm.running_mean is not None
    norm.running_mean.copy_(0.1 * torch.randn(norm.running_mean.shape, generator=generator))
