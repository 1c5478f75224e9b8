"""The small parts of a network: linear layers, norms, similarity, feed-forward activations, gates.

Axes as in attention.py: B batch, H W token grid, D model width, C conditioning width, N heads, E width of one head.
Norms and scales are computed in float32 or wider, whatever the precision around them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdit_repro.models import fused
from hdit_repro.models.arithmetic import wide
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

EPS = 1e-6
Start = Literal["uniform", "zero", "xavier", "small"]


class Linear(nn.Linear):
    """A linear layer that says how it starts (`init.py`) and whether its weight decays (`groups.py`)."""

    def __init__(
        self, width_in: int, width_out: int, *, bias: bool = False, start: Start = "uniform", decays: bool = True
    ) -> None:
        self.start: Start = start
        self.decays = decays
        super().__init__(width_in, width_out, bias=bias)

    def reset_parameters(self) -> None:
        """Nothing: all weights start in `init.py`."""


class Embedding(nn.Embedding):
    """One learned vector a label, starting from a normal distribution of deviation `std`."""

    def __init__(self, rows: int, width: int, *, std: float = 1.0) -> None:
        self.std = std
        super().__init__(rows, width)

    def reset_parameters(self) -> None:
        """Nothing: all weights start in `init.py`."""


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, both brought to the wider of their dtypes first, as addition does by itself.

    It is written out where a matrix product of two axes is added to something wider, as under autocast: the compiler of
    torch 2.8 makes one operation of the two, which refuses two dtypes ("self and mat2 must have the same dtype").
    """
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype) + y.to(dtype)


def rms_scale(x: Tensor, scale: Tensor) -> Tensor:
    """x / rms(x) * scale over the last axis; the factor is computed wide and applied in x's dtype."""
    if fused.fits(x):
        out: Tensor = fused.ScaledNorm.apply(x, scale, EPS)  # type: ignore[no-untyped-call]
        return out
    dtype = wide(x.dtype, scale.dtype)
    mean_square = x.to(dtype).square().mean(dim=-1, keepdim=True)
    return x * (scale.to(dtype) * torch.rsqrt(mean_square + EPS)).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) times one learned scale a channel, starting at 1 (Zhang & Sennrich, 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:  # ... D
        return rms_scale(x, self.scale)


class AdaRMSNorm(nn.Module):
    """RMSNorm whose scale is 1 + linear(mapping), without bias, starting at 1 (Section 4.2)."""

    slow: ClassVar[bool] = True

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()
        self.linear = Linear(conditioning, width, start="zero")

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        return rms_scale(x, (self.linear(cond) + 1)[:, None, None])


class AdaLayerNorm(nn.Module):
    """LayerNorm with scale 1 + a and shift b, (a, b) = linear(mapping), starting at 0."""

    slow: ClassVar[bool] = True
    bias: ClassVar[bool] = False

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()
        self.linear = Linear(conditioning, 2 * width, bias=self.bias, start="zero")

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        scale, shift = torch.unflatten(self.linear(cond), 1, (2, 1, 1, -1)).unbind(1)  # B 1 1 D each
        dtype = wide(x.dtype, scale.dtype)
        normal = F.layer_norm(x.to(dtype), x.shape[-1:], eps=EPS)
        out: Tensor = normal * (1 + scale.to(dtype)) + shift.to(dtype)
        return out.to(x.dtype)


class DiTLayerNorm(AdaLayerNorm):
    """The same of SiLU(mapping), and the linear layer has a bias (Peebles & Xie, 2023; row G)."""

    bias: ClassVar[bool] = True

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        return super().forward(x, F.silu(cond))


NORMS: dict[str, type[AdaRMSNorm] | type[AdaLayerNorm]] = {
    "ada-rms-norm": AdaRMSNorm,
    "ada-layer-norm": AdaLayerNorm,
    "dit-layer-norm": DiTLayerNorm,
}


class CosineSimilarity(nn.Module):
    """Queries and keys of length sqrt(scale), one learned scale per head: scale * cos(q, k) (Appendix C).

    That is Equation 11 with scale = 1 / tau and no B.
    """

    def __init__(self, choice: spec.CosineSimilarity, heads: int, head_width: int) -> None:
        super().__init__()
        self.initial = choice.initial_scale
        self.scale = nn.Parameter(torch.empty(heads))

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:  # B H W N E, twice
        root = self.scale.to(wide(q.dtype, self.scale.dtype)).sqrt()[:, None]
        return _to_length(q, root), _to_length(k, root)


def _to_length(x: Tensor, length: Tensor) -> Tensor:
    """x brought to `length` along its last axis; zero stays zero."""
    square = x.to(length.dtype).square().sum(dim=-1, keepdim=True)
    return x * (length * torch.rsqrt(square + EPS)).to(x.dtype)


class DotProduct(nn.Module):
    """q k / sqrt(E) (Equation 10); the scale goes into the queries."""

    def __init__(self, choice: spec.DotProduct, heads: int, head_width: int) -> None:
        super().__init__()
        self.factor = head_width**-0.5

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:  # B H W N E, twice
        return q * self.factor, k


SIMILARITIES: dict[str, type[CosineSimilarity] | type[DotProduct]] = {
    "cosine": CosineSimilarity,
    "dot": DotProduct,
}


class GEGLU(Linear):
    """value * GELU(gate), both linear in the input (Shazeer, 2020; Section 4.2, Figure 5)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:  # ... D to ... hidden
        both = super().forward(x)
        if fused.fits(both):
            out: Tensor = fused.Gated.apply(both)  # type: ignore[no-untyped-call]
            return out
        value, gate = both.chunk(2, dim=-1)
        return value * F.gelu(gate)


class GELU(Linear):
    """GELU of one linear layer; the exact GELU, not its tanh approximation."""

    def forward(self, x: Tensor) -> Tensor:  # ... D to ... hidden
        return F.gelu(super().forward(x))


FEED_FORWARDS: dict[str, type[GEGLU] | type[GELU]] = {"geglu": GEGLU, "gelu": GELU}


class NoGate(nn.Module):
    """The branch as it is; the projection before it starts at zero, so that a layer starts as the identity."""

    start: ClassVar[Start] = "zero"

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        return x


class MappingGate(nn.Module):
    """The branch times linear(mapping), which starts at zero; so the projection before it does not."""

    slow: ClassVar[bool] = True
    start: ClassVar[Start] = "uniform"
    bias: ClassVar[bool] = False

    def __init__(self, width: int, conditioning: int) -> None:
        super().__init__()
        self.linear = Linear(conditioning, width, bias=self.bias, start="zero")

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        out: Tensor = x * self.linear(cond)[:, None, None]
        return out


class DiTGate(MappingGate):
    """The same of SiLU(mapping), and the linear layer has a bias (Peebles & Xie, 2023; row H)."""

    bias: ClassVar[bool] = True

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        return super().forward(x, F.silu(cond))


GATES: dict[str, type[NoGate] | type[MappingGate]] = {"none": NoGate, "mapping": MappingGate, "dit": DiTGate}


def make_norm(choice: spec.Norm, width: int, conditioning: int) -> AdaRMSNorm | AdaLayerNorm:
    """The norm of a choice: B H W `width` and B `conditioning` to B H W `width`."""
    return NORMS[kind_of(choice)](width, conditioning)


def make_similarity(choice: spec.Similarity, heads: int, head_width: int) -> CosineSimilarity | DotProduct:
    """The similarity of a choice: q and k, B H W N E, to such whose product is what goes into the softmax."""
    make: type[CosineSimilarity] | type[DotProduct] = SIMILARITIES[kind_of(choice)]
    return make(choice, heads, head_width)  # type: ignore[arg-type]


def make_activation(choice: spec.FeedForward, width: int, hidden: int) -> GEGLU | GELU:
    """The first half of a feed-forward: ... `width` to ... `hidden`."""
    return FEED_FORWARDS[kind_of(choice)](width, hidden)


def make_gate(choice: spec.Gate, width: int, conditioning: int) -> NoGate | MappingGate:
    """The gate of a choice: a branch, B H W `width`, and B `conditioning` to B H W `width`."""
    return GATES[kind_of(choice)](width, conditioning)
