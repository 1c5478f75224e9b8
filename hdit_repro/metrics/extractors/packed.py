"""Convolutions of frozen networks with their weights laid out for the CPU once, by oneDNN as torch carries it.

torch keeps weights in its own order, and brings them into oneDNN's at every call: for the small groups that are put
through a feature network a tenth of the time. torch.compile's freezing uses the same two operators; it is not used
itself, since it takes half a minute and its kernels change with the compiler.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Module):
    """A frozen convolution, and ReLU if asked; B C H W in and out.

    On a CPU the weights are packed for the first shape that comes; other shapes are taken all the same.

    Args:
        layer: the convolution, padded with zeros.
        relu: whether ReLU follows.
    """

    def __init__(self, layer: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        self.layer, self.relu = layer, relu
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not packs(x.device.type, x.dtype):
            out = self.layer(x)
            return F.relu(out) if self.relu else out
        layer = self.layer
        shape = (layer.padding, layer.stride, layer.dilation, layer.groups)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, *shape, list(x.shape))
        after = "relu" if self.relu else "none"
        found = torch.ops.mkldnn._convolution_pointwise(x, self._packed, layer.bias, *shape, after, [], "")
        return torch.as_tensor(found)


@lru_cache
def packs(device: str, dtype: torch.dtype) -> bool:
    """Whether this build of torch and this machine can run packed convolutions."""
    operators = ("_reorder_convolution_weight", "_convolution_pointwise", "_is_mkldnn_bf16_supported")
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in operators):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
