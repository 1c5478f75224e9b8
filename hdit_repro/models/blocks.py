"""One layer of the hourglass: attention on the grid, then a pointwise feed-forward (Section 4.2, Figure 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdit_repro.models import fused
from hdit_repro.models.arithmetic import wide
from hdit_repro.models.attention import Attend, make_attention
from hdit_repro.models.dropout import Dropout
from hdit_repro.models.layers import (
    EPS,
    CosineSimilarity,
    Linear,
    make_activation,
    make_gate,
    make_norm,
    make_similarity,
)
from hdit_repro.models.rope import Places, make_rotation
from hdit_repro.spec import model as spec


class SelfAttention(nn.Module):
    """x + gate(out(attend(similarity and rotation of q, k; v))), of the normalised x."""

    def __init__(self, network: spec.Hourglass, level: spec.Level, attend: Attend) -> None:
        super().__init__()
        self.heads = level.heads
        self.attend = attend
        self.norm = make_norm(network.norm, level.width, network.mapping.width)
        self.qkv_proj = Linear(level.width, 3 * level.width)
        self.similarity = make_similarity(network.similarity, level.heads, level.head_width)
        self.pos_emb = make_rotation(network.position, level.heads, level.head_width)
        self.dropout = Dropout(level.dropout)
        self.gate = make_gate(network.gate, level.width, network.mapping.width)
        self.out_proj = Linear(level.width, level.width, start=self.gate.start)

    def forward(self, x: Tensor, at: Places, cond: Tensor) -> Tensor:  # B H W D, B C
        qkv = self.qkv_proj(self.norm(x, cond))
        q, k, v = torch.unflatten(qkv, 3, (3, self.heads, -1)).movedim(3, 0)  # B H W N E each
        q, k = self.prepared(q, k, at)
        gathered = self.attend(q, k, v).flatten(3)
        out: Tensor = x + self.gate(self.out_proj(self.dropout(gathered)), cond)
        return out

    def prepared(self, q: Tensor, k: Tensor, at: Places) -> tuple[Tensor, Tensor]:
        """Queries and keys (B H W N E, twice) with similarity's scale and rotation, in one go where it can be."""
        if isinstance(self.similarity, CosineSimilarity) and fused.fits(q):
            dtype = wide(q.dtype, self.similarity.scale.dtype)
            root = self.similarity.scale.to(dtype).sqrt()
            cos, sin = (table.to(dtype) for table in self.pos_emb.angles(at))
            q, k = (fused.LengthAndTurn.apply(x, root, cos, sin, EPS) for x in (q, k))  # type: ignore[no-untyped-call]
            return q, k
        turned: tuple[Tensor, Tensor] = self.pos_emb(*self.similarity(q, k), at)
        return turned


class FeedForward(nn.Module):
    """x + gate(down(activation(up(norm(x)))))."""

    def __init__(self, network: spec.Hourglass, level: spec.Level) -> None:
        super().__init__()
        self.norm = make_norm(network.norm, level.width, network.mapping.width)
        self.up_proj = make_activation(network.feed_forward, level.width, level.d_ff)
        self.dropout = Dropout(level.dropout)
        self.gate = make_gate(network.gate, level.width, network.mapping.width)
        self.down_proj = Linear(level.d_ff, level.width, start=self.gate.start)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:  # B H W D, B C
        out: Tensor = x + self.gate(self.down_proj(self.dropout(self.up_proj(self.norm(x, cond)))), cond)
        return out


class AttentionLayer(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, network: spec.Hourglass, level: spec.Level, attend: Attend) -> None:
        super().__init__()
        self.self_attn = SelfAttention(network, level, attend)
        self.ff = FeedForward(network, level)

    def forward(self, x: Tensor, at: Places, cond: Tensor) -> Tensor:  # B H W D, B C
        out: Tensor = self.ff(self.self_attn(x, at, cond), cond)
        return out


class PointwiseLayer(nn.Module):
    """Feed-forward only, for a level without attention."""

    def __init__(self, network: spec.Hourglass, level: spec.Level) -> None:
        super().__init__()
        self.ff = FeedForward(network, level)

    def forward(self, x: Tensor, at: Places, cond: Tensor) -> Tensor:  # B H W D, B C
        out: Tensor = self.ff(x, cond)
        return out


class LayerStack(nn.ModuleList):
    """The layers of a level on one way; `first` is the number of its first layer within the level."""

    def __init__(self, network: spec.Hourglass, level: spec.Level, first: int = 0) -> None:
        super().__init__(make_layer(network, level, first + i) for i in range(level.depth))

    def forward(self, x: Tensor, at: Places, cond: Tensor) -> Tensor:  # B H W D, B C
        for layer in self:
            x = layer(x, at, cond)
        return x


def make_layer(network: spec.Hourglass, level: spec.Level, index: int) -> AttentionLayer | PointwiseLayer:
    """The layer numbered `index` within its level."""
    attend = make_attention(level.attention, index)
    return PointwiseLayer(network, level) if attend is None else AttentionLayer(network, level, attend)
