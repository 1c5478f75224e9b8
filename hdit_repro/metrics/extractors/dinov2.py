"""DINOv2 ViT-L/14 (Oquab et al., 2023) as a feature network, in the two variants whose numbers are published.

Stein et al. (2023, dgm-eval) take its class token as it comes; k-diffusion scales it to length sqrt(1024), after
another resize. Their distances differ by construction, so each has its own name. k-diffusion runs the network in half
precision, which is not followed: both are computed in float32.

Axes: B batch, H W pixels, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.metrics import weights
from hdit_repro.metrics.extractors import resize
from hdit_repro.metrics.extractors.base import FEATURES, in_groups

WEIGHTS = "dinov2-vitl14"
SIDE = 224
PATCH = 14
OFFSET = 0.1
"""The published model adds it to the target grid when it resizes its positions, which shifts their values."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of values in 0 ... 1."""


class Shape(NamedTuple):
    """Width, number of blocks and heads, side of the grid of positions that the weights hold."""

    width: int
    depth: int
    heads: int
    grid: int


VIT_L = Shape(1024, 24, 16, 37)


class Block(nn.Module):
    """x + g1 attention(norm(x)), then x + g2 mlp(norm(x)); B N D in and out. Names are those of the weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1 = nn.ParameterDict({"gamma": torch.ones(width)})
        self.ls2 = nn.ParameterDict({"gamma": torch.ones(width)})

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.attn["qkv"](self.norm1(x))
        q, k, v = rearrange(qkv, "b n (three h e) -> three b h n e", three=3, h=self.heads)
        out = rearrange(F.scaled_dot_product_attention(q, k, v), "b h n e -> b n (h e)")
        x = x + self.ls1["gamma"] * self.attn["proj"](out)
        hidden = F.gelu(self.mlp["fc1"](self.norm2(x)))
        x = x + self.ls2["gamma"] * self.mlp["fc2"](hidden)
        return x


class VisionTransformer(nn.Module):
    """The network up to its normalised class token: B 3 H W to B D. H and W are multiples of 14."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.grid = shape.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.mask_token = nn.Parameter(torch.zeros(1, shape.width))  # in the weights; used in training only
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, shape.width, PATCH, stride=PATCH)})
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](x)
        height, width = patches.shape[2:]
        tokens = rearrange(patches, "b d h w -> b (h w) d")
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1) + self.positions(height, width)
        for block in self.blocks:
            tokens = block(tokens)
        return torch.as_tensor(self.norm(tokens[:, 0]))

    def positions(self, height: int, width: int) -> Tensor:
        """The positions of a grid of tokens, resized as the published model does: 1 (1 + height * width) D."""
        first, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if height == width == self.grid:
            return self.pos_embed
        plane = rearrange(grid, "one (h w) d -> one d h w", h=self.grid)
        scale = ((height + OFFSET) / self.grid, (width + OFFSET) / self.grid)
        resized = F.interpolate(plane, scale_factor=scale, mode="bicubic")
        return torch.cat([first, rearrange(resized, "one d h w -> one (h w) d")], 1)


def _by_pillow(images: Tensor) -> Tensor:
    return resize.pillow_bicubic_quantised(images, SIDE)


def _by_torch(images: Tensor) -> Tensor:
    return resize.torch_bicubic(images, SIDE)


def _standard(grey: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, device=grey.device).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (grey / 255 - mean) / std


class DinoV2Features:
    """The class token of DINOv2, raw or scaled to length sqrt(D).

    Args:
        state: the network's tensors, with the published names.
        digest: SHA-256 of the file they come from.
        device: where to compute.
        name: "dinov2-vitl14-raw" or "dinov2-vitl14-normalised".
        shape: of the network.

    Raises:
        UserError: the tensors are not this network's.
    """

    def __init__(
        self, state: dict[str, Tensor], digest: str, device: torch.device, name: str, shape: Shape = VIT_L
    ) -> None:
        network = VisionTransformer(shape)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(
                "these tensors are not DINOv2's",
                found=str(error).splitlines()[0],
                expected="DINOv2's ViT-L/14, as published",
                fix="hdit-repro weights list names the file; hdit-repro weights add PATH brings it in",
            ) from error
        self.network = network.eval().requires_grad_(False).to(device)
        self.name, self.width, self.digest, self.device = name, shape.width, digest, device
        self.scaled = name == "dinov2-vitl14-normalised"
        self.protocol = (
            "uint8, torch bicubic with antialiasing to 224, ImageNet's mean and deviation; length sqrt(width)"
            if self.scaled
            else "uint8, Pillow bicubic to 224 in 8 bits, ImageNet's mean and deviation; as they come"
        )

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """See `FeatureExtractor.features`: features B 1024."""
        if self.scaled:
            return in_groups(images, self.device, lambda group: self._forward(_by_torch(group)))
        return in_groups(images, self.device, self._forward, _by_pillow)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 B 3 H W to what the network sees, float32 B 3 224 224."""
        return _standard(_by_torch(images) if self.scaled else _by_pillow(images))

    def _forward(self, grey: Tensor) -> dict[str, Tensor]:
        tokens = self.network(_standard(grey))
        return {FEATURES: F.normalize(tokens) * self.width**0.5 if self.scaled else tokens}


def builder(name: str) -> Callable[[torch.device], DinoV2Features]:
    """What builds variant `name` with the weights that `hdit-repro weights add` brought in.

    It raises UserError where they are missing or damaged.
    """

    def build(device: torch.device) -> DinoV2Features:
        return DinoV2Features(weights.load(WEIGHTS), weights.KNOWN[WEIGHTS].sha256, device, name)

    return build
