"""The counter of ADM's U-Net against a network in torch on the meta device, and against what is published."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hdit_repro import paper
from hdit_repro.cost.unet import unet
from hdit_repro.spec.unet import ADM, UNet


class Residual(nn.Module):
    """BigGAN's block with scale and shift; `scale` halves (0.5), keeps (1) or doubles (2) the grid."""

    def __init__(self, inputs: int, outputs: int, embedding: int, scale: float = 1) -> None:
        super().__init__()
        self.scale = scale
        self.norm_in, self.norm_out = nn.GroupNorm(1, inputs), nn.GroupNorm(1, outputs)
        self.conv_in, self.conv_out = (
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.condition = nn.Linear(embedding, 2 * outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def resize(self, x: Tensor) -> Tensor:
        if self.scale == 2:
            return functional.interpolate(x, scale_factor=2.0)
        return functional.avg_pool2d(x, 2) if self.scale == 0.5 else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv_in(self.resize(functional.silu(self.norm_in(x))))
        scale, shift = self.condition(functional.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv_out(functional.silu(self.norm_out(hidden) * (1 + scale) + shift))
        return hidden + self.skip(self.resize(x))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(1, width),
            nn.Conv1d(width, 3 * width, 1),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        flat = x.flatten(2)
        q, k, v = self.qkv(self.norm(flat)).chunk(3, dim=1)
        weights = torch.bmm(q.mT, k).softmax(-1)
        return x + self.out(torch.bmm(v, weights.mT)).view_as(x)


class Network(nn.Module):
    """The U-Net of a spec, written as its modules run: a list a side, features kept on a stack."""

    def __init__(self, spec: UNet) -> None:
        super().__init__()
        embedding, side, width = 4 * spec.base, spec.resolution, spec.widths[0]
        self.base = spec.base
        self.time = nn.Sequential(nn.Linear(spec.base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(spec.classes, embedding) if spec.classes else None
        self.stem = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.down, self.up, kept = nn.ModuleList(), nn.ModuleList(), [width]
        for level, outputs in enumerate(spec.widths):
            for _ in range(spec.blocks):
                block = [Residual(width, outputs, embedding)] + [Attention(outputs)] * (side in spec.attention)
                self.down.append(nn.ModuleList(block))
                width = outputs
                kept.append(width)
            if level + 1 < len(spec.widths):
                side //= 2
                self.down.append(nn.ModuleList([Residual(width, width, embedding, 0.5)]))
                kept.append(width)
        self.middle = nn.ModuleList(
            [Residual(width, width, embedding), Attention(width), Residual(width, width, embedding)]
        )
        for level in reversed(range(len(spec.widths))):
            for number in range(spec.blocks + 1):
                outputs = spec.widths[level]
                block = [Residual(width + kept.pop(), outputs, embedding)] + [Attention(outputs)] * (
                    side in spec.attention
                )
                width = outputs
                if level and number == spec.blocks:
                    block.append(Residual(width, width, embedding, 2))
                    side *= 2
                self.up.append(nn.ModuleList(block))
        self.head = nn.Sequential(nn.GroupNorm(1, width), nn.SiLU(), nn.Conv2d(width, spec.out_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.time(x.new_zeros(len(x), self.base))
        if self.label is not None:
            embedding = embedding + self.label(torch.zeros(len(x), dtype=torch.long, device=x.device))
        x = self.stem(x)
        kept = [x]
        for block in self.down:
            for module in block:
                x = module(x, embedding)
            kept.append(x)
        for module in self.middle:
            x = module(x, embedding)
        for block in self.up:
            x = torch.cat([x, kept.pop()], dim=1)
            for module in block:
                x = module(x, embedding)
        assert not kept
        return self.head(x)


TINY = UNet(resolution=16, base=8, widths=(8, 12, 16), blocks=2, attention=(8, 4), classes=5)
PLAIN = UNet(resolution=8, base=6, widths=(4,), blocks=1, attention=(), channels=1, learn_sigma=False)


@pytest.mark.parametrize("spec", [TINY, PLAIN, *ADM.values()], ids=lambda spec: f"{spec.resolution}x{spec.base}")
def test_counts_are_torchs(spec: UNet) -> None:
    with torch.device("meta"):
        network = Network(spec)
        image = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
    with FlopCounterMode(display=False) as counter:
        out = network(image)
    cost = unet(spec)
    assert out.shape == (1, spec.out_channels, spec.resolution, spec.resolution)
    assert cost.macs == counter.get_total_flops() // 2
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert cost.macs == sum(part.macs for part in cost.parts.values())


def test_the_256_network_has_the_printed_parameters() -> None:
    """Table 4 prints 554M for ADM; its authors give 296M, 422M, 554M and 559M for the four sizes."""
    assert round(unet(ADM[256]).parameters, -6) == paper.read().claim("table4/adm/params").printed
    assert [round(unet(spec).parameters / 1e6) for spec in ADM.values()] == [296, 422, 554, 559]


def test_a_network_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="3 levels need a side that 4 divides"):
        UNet(resolution=18, base=8, widths=(8, 8, 8), blocks=1, attention=())
