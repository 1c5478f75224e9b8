"""The mapping network: noise level, augmentation, class and further conditions to one vector a sample (Section 4.2)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from hdit_repro.models.dropout import Dropout
from hdit_repro.models.layers import GEGLU, GELU, Linear, RMSNorm, plus
from hdit_repro.spec import model as spec


class FourierFeatures(nn.Module):
    """cos and sin of 2 pi W x with a fixed random W (width / 2, in), a buffer.

    The few products are summed one by one and not as a matrix product, which autocast would round to 8 bits.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", torch.empty(width // 2, width_in))

    def forward(self, x: Tensor) -> Tensor:  # B in to B width
        angle = 2 * math.pi * (x[:, None, :] * self.weight).sum(dim=-1)
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


class MappingBlock(nn.Module):
    """x + down(activation(up(norm(x)))), where down starts at zero."""

    def __init__(self, mapping: spec.Mapping) -> None:
        super().__init__()
        self.norm = RMSNorm(mapping.width)
        self.up_proj = (GELU if mapping.activation == "gelu" else GEGLU)(mapping.width, mapping.d_ff)
        self.dropout = Dropout(mapping.dropout)
        self.down_proj = Linear(mapping.d_ff, mapping.width, start="zero")

    def forward(self, x: Tensor) -> Tensor:  # B C
        return plus(x, self.down_proj(self.dropout(self.up_proj(self.norm(x)))))


class Blocks(nn.Module):
    """RMSNorm, the blocks, RMSNorm (second edition, appendix)."""

    slow: ClassVar[bool] = True

    def __init__(self, mapping: spec.Mapping) -> None:
        super().__init__()
        self.in_norm = RMSNorm(mapping.width)
        self.blocks = nn.ModuleList([MappingBlock(mapping) for _ in range(mapping.depth)])
        self.out_norm = RMSNorm(mapping.width)

    def forward(self, x: Tensor) -> Tensor:  # B C
        x = self.in_norm(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out_norm(x)
        return out
