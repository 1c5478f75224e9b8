"""How every parameter and buffer starts, in one place.

| what | starts as |
|---|---|
| linear, `uniform` | U(-b, b), b = 1 / sqrt(width in) (torch's own start, as in the released HDiT code) |
| linear, `zero` | 0: norm scales and gates from the mapping, projections that end a branch, the patch output |
| linear, `xavier`; DiT's patches | U(-b, b), b = sqrt(6 / (width in + width out)) (facebookresearch/DiT) |
| linear, `small`; DiT's labels | N(0, 0.02^2) (facebookresearch/DiT) |
| bias | 0 |
| labels; Fourier weights of the HDiT | N(0, 1) |
| learned positions | DiT's sines and cosines, from which they learn on (inferred) |
| norm scale, cosine scale, lerp factor | 1, the spec's (10), 1/2 |
| RoPE frequencies, sin-cos positions, noise levels of DiT's chain | computed |

Each tensor has its own generator, keyed by the seed and its name: what one row of an ablation shares with another
starts alike, and torch's global generators stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hdit_repro.models.dit import DiT
from hdit_repro.models.layers import CosineSimilarity, Embedding, Linear, RMSNorm
from hdit_repro.models.mapping import FourierFeatures
from hdit_repro.models.positions import LearnedPosition, sin_cos
from hdit_repro.models.rope import AxialRoPE, frequencies
from hdit_repro.models.times import NestedDdpm, chain_log_sigmas
from hdit_repro.models.tokens import Lerp
from hdit_repro.seeds import derive

SMALL = 0.02


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Fill every parameter and buffer of `network` (on the CPU) from `seed`. The same seed gives the same bits."""
    for path, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if not own:
            continue
        start = next((start for kind, start in STARTS.items() if isinstance(module, kind)), None)
        assert start is not None, f"{type(module).__name__} holds {own[0][0]} and has no start"
        start(module, Source(seed, path))


class Source:
    """Random tensors for one module, each from a generator keyed by seed and name."""

    def __init__(self, seed: int, path: str) -> None:
        self.seed, self.path = seed, path

    def normal(self, tensor: Tensor, name: str, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=self._generator(name), dtype=torch.float32) * std)

    def uniform(self, tensor: Tensor, name: str, bound: float) -> None:
        unit = torch.rand(tensor.shape, generator=self._generator(name), dtype=torch.float32)
        tensor.copy_((2 * unit - 1) * bound)

    def _generator(self, name: str) -> torch.Generator:
        generator = torch.Generator(device="cpu")
        return generator.manual_seed(derive(self.seed, 0, f"init/{self.path}.{name}"))


def _linear(module: Linear, source: Source) -> None:
    width_in, width_out = module.in_features, module.out_features
    match module.start:
        case "uniform":
            source.uniform(module.weight, "weight", 1 / math.sqrt(width_in))
        case "xavier":
            source.uniform(module.weight, "weight", math.sqrt(6 / (width_in + width_out)))
        case "small":
            source.normal(module.weight, "weight", SMALL)
        case "zero":
            module.weight.zero_()
    if module.bias is not None:
        module.bias.zero_()


def _patches(module: nn.Conv2d, source: Source) -> None:
    width_out, width_in = module.weight.flatten(1).shape
    source.uniform(module.weight, "weight", math.sqrt(6 / (width_in + width_out)))
    assert module.bias is not None
    module.bias.zero_()


def _embedding(module: Embedding, source: Source) -> None:
    source.normal(module.weight, "weight", module.std)


def _fourier(module: FourierFeatures, source: Source) -> None:
    source.normal(module.weight, "weight", 1.0)


def _norm(module: RMSNorm, source: Source) -> None:
    module.scale.fill_(1)


def _cosine(module: CosineSimilarity, source: Source) -> None:
    module.scale.fill_(module.initial)


def _lerp(module: Lerp, source: Source) -> None:
    module.fac.fill_(0.5)


def _learned(module: LearnedPosition, source: Source) -> None:
    module.weight.copy_(sin_cos(*module.weight.shape))


def _rope(module: AxialRoPE, source: Source) -> None:
    module.freqs.copy_(frequencies(module.heads, module.pairs))


def _chain(module: NestedDdpm, source: Source) -> None:
    module.log_sigmas.copy_(chain_log_sigmas())


def _dit(module: DiT, source: Source) -> None:
    side = module.resolution // module.patch
    module.pos_embed.copy_(sin_cos(side, side, module.width, torch.device("cpu")).flatten(0, 1)[None])


STARTS: dict[type[nn.Module], Callable[..., None]] = {
    Linear: _linear,
    nn.Conv2d: _patches,
    Embedding: _embedding,
    FourierFeatures: _fourier,
    RMSNorm: _norm,
    CosineSimilarity: _cosine,
    Lerp: _lerp,
    LearnedPosition: _learned,
    AxialRoPE: _rope,
    NestedDdpm: _chain,
    DiT: _dit,
}
