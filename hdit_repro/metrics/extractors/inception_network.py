"""Inception's layers as torch-fidelity has them, in fewer passes over memory: the same function but for rounding.

What changes, all exact in real numbers:
    - frozen batch norms are folded into their convolutions;
    - the 1 x 1 convolutions of a block that see the same input are one convolution;
    - where a block averages and then convolves 1 x 1, it convolves first: both are linear, the average's weights sum
      to 1 (TensorFlow leaves the padding out of the count), and there are fewer channels to average;
    - memory is laid out channels last;
    - on a CPU the weights are brought into oneDNN's own order once instead of at every call, and the ReLU is taken in
      the convolution's own pass.

Axes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdit_repro.metrics.extractors.base import fold_norm
from hdit_repro.metrics.extractors.packed import Convolution

SPATIAL_CHANNELS = 7
"""Of mixed_6/conv, whose 17 x 17 grid then has 2,023 values (guided-diffusion, evaluations/evaluator.py)."""

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2")
EARLY = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c")
LATE = ("Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c")


class Trunk(nn.Module):
    """From what the network sees to its pooled and spatial features.

    Args:
        network: torch-fidelity's FeatureExtractorInceptionV3 with its weights. It is taken apart.
        dtype: of the convolutions.
        device: where they compute.
    """

    def __init__(self, network: Any, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        for module in network.modules():
            if hasattr(module, "conv") and hasattr(module, "bn"):
                fold_norm(module, "conv", "bn")
        spatial = network.Mixed_6d.branch1x1.conv
        self.spatial = pointwise(spatial.weight[:SPATIAL_CHANNELS], spatial.bias[:SPATIAL_CHANNELS], relu=True)
        self.stem = nn.Sequential(*(fused(getattr(network, name)) for name in STEM))
        self.early = nn.Sequential(*(merged(getattr(network, name)) for name in EARLY))
        self.late = nn.Sequential(*(merged(getattr(network, name)) for name in LATE))
        self.dtype = dtype
        self.eval().requires_grad_(False)
        self.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of what the network sees.

        Args:
            x: float32 B 3 299 299, about [-1, 1].

        Returns:
            Pooled features B 2048; the first seven channels of mixed_6/conv, B 2023, in TensorFlow's order (rows,
            columns, channels). Both float32.
        """
        x = self.early(self.stem(x.to(self.dtype, memory_format=torch.channels_last)))
        spatial = self.spatial(x).permute(0, 2, 3, 1).flatten(1)
        return self.late(x).float().mean((2, 3)), spatial.float()


def merged(block: nn.Module) -> nn.Module:
    """A block of torch-fidelity's whose 1 x 1 convolutions of the block's input are one."""
    return BLOCKS[type(block).__name__](block)


def fused(layer: Any) -> nn.Module:
    """A convolution of torch-fidelity's (BasicConv2d, its norm folded) with its ReLU; another layer as it is."""
    return Convolution(layer.conv, relu=True) if hasattr(layer, "conv") else layer


def pointwise(weight: Tensor, bias: Tensor, relu: bool) -> Convolution:
    """A 1 x 1 convolution of its own. weight: out in 1 1; bias: out."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return Convolution(layer, relu)


class Heads(nn.Module):
    """Several 1 x 1 convolutions (BasicConv2d, norms folded) of one input, as one; B C H W to one tensor each.

    Args:
        branches: the convolutions.
        averaged: one more, which torch-fidelity applies to the input's 3 x 3 average. Its result comes last.
    """

    def __init__(self, *branches: Any, averaged: Any = None) -> None:
        super().__init__()
        heads = [branch.conv for branch in branches] + ([] if averaged is None else [averaged.conv])
        self.sizes = [head.out_channels for head in heads]
        self.averaged = averaged is not None
        weight = torch.cat([head.weight for head in heads])
        self.pointwise = pointwise(weight, torch.cat([head.bias for head in heads]), relu=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        out = list(self.pointwise(x).split(self.sizes, dim=1))
        if self.averaged:
            out[-1] = F.avg_pool2d(out[-1], 3, stride=1, padding=1, count_include_pad=False)
        return [F.relu(part) for part in out]


class BlockA(nn.Module):
    """Mixed_5b to Mixed_5d."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.heads = Heads(block.branch1x1, block.branch5x5_1, block.branch3x3dbl_1, averaged=block.branch_pool)
        self.five = fused(block.branch5x5_2)
        self.three = nn.Sequential(fused(block.branch3x3dbl_2), fused(block.branch3x3dbl_3))

    def forward(self, x: Tensor) -> Tensor:
        one, five, three, pool = self.heads(x)
        return torch.cat([one, self.five(five), self.three(three), pool], 1)


class BlockB(nn.Module):
    """Mixed_6a."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.three = fused(block.branch3x3)
        names = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        self.twice = nn.Sequential(*(fused(getattr(block, name)) for name in names))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.three(x), self.twice(x), F.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """Mixed_6b to Mixed_6e."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.heads = Heads(block.branch1x1, block.branch7x7_1, block.branch7x7dbl_1, averaged=block.branch_pool)
        self.seven = nn.Sequential(fused(block.branch7x7_2), fused(block.branch7x7_3))
        names = ("branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5")
        self.twice = nn.Sequential(*(fused(getattr(block, name)) for name in names))

    def forward(self, x: Tensor) -> Tensor:
        one, seven, double, pool = self.heads(x)
        return torch.cat([one, self.seven(seven), self.twice(double), pool], 1)


class BlockD(nn.Module):
    """Mixed_7a."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.heads = Heads(block.branch3x3_1, block.branch7x7x3_1)
        self.three = fused(block.branch3x3_2)
        names = ("branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4")
        self.seven = nn.Sequential(*(fused(getattr(block, name)) for name in names))

    def forward(self, x: Tensor) -> Tensor:
        three, seven = self.heads(x)
        return torch.cat([self.three(three), self.seven(seven), F.max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """Mixed_7b, which averages, and Mixed_7c, which takes the maximum, as the network of 2015 does."""

    def __init__(self, block: Any, average: bool) -> None:
        super().__init__()
        pool = block.branch_pool
        self.heads = Heads(block.branch1x1, block.branch3x3_1, block.branch3x3dbl_1, averaged=pool if average else None)
        self.pool = None if average else fused(pool)
        self.wide, self.high = fused(block.branch3x3_2a), fused(block.branch3x3_2b)
        self.twice, self.twice_wide = fused(block.branch3x3dbl_2), fused(block.branch3x3dbl_3a)
        self.twice_high = fused(block.branch3x3dbl_3b)

    def forward(self, x: Tensor) -> Tensor:
        one, three, double, *rest = self.heads(x)
        double = self.twice(double)
        pool = rest[0] if self.pool is None else self.pool(F.max_pool2d(x, 3, stride=1, padding=1))
        sides = [self.wide(three), self.high(three), self.twice_wide(double), self.twice_high(double)]
        return torch.cat([one, *sides, pool], 1)


def _averaging(block: nn.Module) -> nn.Module:
    return BlockE(block, average=True)


def _maximal(block: nn.Module) -> nn.Module:
    return BlockE(block, average=False)


BLOCKS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "InceptionA": BlockA,
    "InceptionB": BlockB,
    "InceptionC": BlockC,
    "InceptionD": BlockD,
    "InceptionE_1": _averaging,
    "InceptionE_2": _maximal,
}
