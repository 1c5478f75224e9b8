"""The Diffusion Transformer of Peebles & Xie (2023), as in facebookresearch/DiT, on pixels.

Axes: B batch, C channels, H W pixels, T tokens (row by row), D model width, N heads, E width of one head.
Names of parameters are those of the released code, so its state dict loads as it is.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.inputs import check_level
from hdit_repro.models.conditions import check_dtype, check_image, check_labels, check_vector
from hdit_repro.models.layers import EPS, Embedding, Linear
from hdit_repro.models.times import TIMES
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

FEATURES = 256
LONGEST = 10_000.0


class PatchEmbed(nn.Module):
    """Patches of p x p pixels to D channels, row by row."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:  # B C H W to B T D
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class TimeEmbedder(nn.Module):
    """256 sines and cosines of the time, with periods from 2 pi to 2 pi 10,000 (left out), then a two-layer MLP."""

    slow: ClassVar[bool] = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            Linear(FEATURES, width, bias=True, start="small"),
            nn.SiLU(),
            Linear(width, width, bias=True, start="small"),
        )

    def forward(self, t: Tensor) -> Tensor:  # B to B D
        t = t if t.dtype == torch.float64 else t.float()
        half = FEATURES // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device)
        angle = t[:, None] * torch.exp(-math.log(LONGEST) * steps / half)
        features = torch.cat((angle.cos(), angle.sin()), dim=-1)
        first = self.mlp[0]
        assert isinstance(first, Linear)
        out: Tensor = self.mlp(features.to(first.weight.dtype))
        return out


class LabelEmbedder(nn.Module):
    """One vector a class; labels are dropped by whoever calls the network, with index `classes`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = Embedding(rows, width, std=0.02)

    def forward(self, labels: Tensor) -> Tensor:  # B to B D
        out: Tensor = self.embedding_table(labels)
        return out


class Attention(nn.Module):
    """Multi-head attention with biases, every token to every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=True, start="xavier")
        self.proj = Linear(width, width, bias=True, start="xavier")

    def forward(self, x: Tensor) -> Tensor:  # B T D
        qkv = torch.unflatten(self.qkv(x), 2, (3, self.heads, -1))
        q, k, v = qkv.transpose(1, 3).unbind(2)  # B N T E each
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Two layers with the tanh approximation of GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden, bias=True, start="xavier")
        self.fc2 = Linear(hidden, width, bias=True, start="xavier")

    def forward(self, x: Tensor) -> Tensor:  # B T D
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class Modulation(nn.Sequential):
    """SiLU, then `parts` vectors of the width, all starting at zero (adaLN-Zero)."""

    slow: ClassVar[bool] = True

    def __init__(self, width: int, parts: int) -> None:
        super().__init__(nn.SiLU(), Linear(width, parts * width, bias=True, start="zero"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without parameters, then (1 + scale) and shift: B T D with B 1 D."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


class Block(nn.Module):
    """Attention and MLP, each with a scale, a shift and a gate from the condition."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = MLP(width, hidden)
        self.adaLN_modulation = Modulation(width, 6)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B T D, B D
        parts = torch.unflatten(self.adaLN_modulation(cond), 1, (6, 1, -1)).unbind(1)  # B 1 D each
        shift, scale, gate = parts[:3]
        x = x + gate * self.attn(modulate(x, shift, scale))
        shift, scale, gate = parts[3:]
        out: Tensor = x + gate * self.mlp(modulate(x, shift, scale))
        return out


class FinalLayer(nn.Module):
    """Norm with scale and shift from the condition, then a linear layer to pixels that starts at zero."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.linear = Linear(width, width_out, bias=True, start="zero")
        self.adaLN_modulation = Modulation(width, 2)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B T D, B D
        shift, scale = torch.unflatten(self.adaLN_modulation(cond), 1, (2, 1, -1)).unbind(1)  # B 1 D each
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out


class DiT(nn.Module):
    """The network; with learned sigma the first half of its channels is epsilon, the second its variance.

    The label table holds the classes and, where labels are dropped at all, one row more for the dropped label. So a
    network without classes has one row, as in the released code, and takes it when it is given no labels.
    """

    def __init__(self, network: spec.DiT) -> None:
        super().__init__()
        self.channels, self.out_channels = network.channels, network.out_channels
        self.resolution, self.patch, self.width = network.resolution, network.patch, network.width
        self.classes, self.labels = network.classes, network.classes + (network.class_dropout > 0)
        self.time = TIMES[kind_of(network.time)](network.time)

        self.x_embedder = PatchEmbed(network.channels, network.width, network.patch)
        self.t_embedder = TimeEmbedder(network.width)
        if self.labels:
            self.y_embedder = LabelEmbedder(self.labels, network.width)
        tokens = (network.resolution // network.patch) ** 2
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", torch.empty(1, tokens, network.width))
        self.blocks = nn.ModuleList([Block(network.width, network.heads, network.d_ff) for _ in range(network.depth)])
        self.final_layer = FinalLayer(network.width, network.patch**2 * network.out_channels)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        class_cond: Tensor | None = None,
        aug_cond: Tensor | None = None,
        mapping_cond: Tensor | None = None,
    ) -> Tensor:
        """The network at a batch of times.

        Args:
            x: B C H W, in the dtype of the weights (under autocast any but float64), of the size that the network is
                made for.
            t: B; a step number 0 ... 999 where the spec's `time` is `timestep`, else sigma.
            class_cond: B, integers; index `classes` is the dropped class. Needed where the network has classes.
            aug_cond, mapping_cond: there are none for a DiT; they stand here so that networks are called alike.

        Returns:
            B C H W, with twice the channels where sigma is learned.

        Raises:
            UserError: a shape does not fit, a sigma is not positive (looked at where that is free), labels are missing,
                or a condition is given that would be ignored.
        """
        check_image(x, self.channels)
        check_dtype(x, self.x_embedder.proj.weight)
        if x.shape[2:] != (self.resolution, self.resolution):
            raise UserError(
                "a DiT's fixed positions know one image size only",
                found=f"{x.shape[2]} x {x.shape[3]} pixels",
                expected=f"{self.resolution} x {self.resolution} pixels",
                fix="build the network for that resolution, or resize the images",
            )
        check_level(t, len(x), "t")
        if class_cond is None and self.labels and not self.classes:
            class_cond = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        check_labels(class_cond, len(x), self.labels)
        check_vector(aug_cond, len(x), 0, "aug_cond", optional=True)
        check_vector(mapping_cond, len(x), 0, "mapping_cond", optional=True)

        noised, time = self.time.before(x, t)
        tokens = self.x_embedder(noised) + self.pos_embed
        cond = self.t_embedder(time)
        if class_cond is not None:
            cond = cond + self.y_embedder(class_cond)
        for block in self.blocks:
            tokens = block(tokens, cond)
        pixels: Tensor = self.final_layer(tokens, cond)
        side = self.resolution // self.patch
        parts = torch.unflatten(pixels, 2, (self.patch, self.patch, -1))
        parts = torch.unflatten(parts, 1, (side, side)).permute(0, 5, 1, 3, 2, 4)  # B C H p W q
        out = parts.flatten(4).flatten(2, 3)
        return self.time.after(x, t, out)
