"""Attention over short sequences: on a CPU, products and a softmax written out.

Torch's CPU kernel for attention works off one block of one head after another, which costs more than batched products
where a head has few keys, most of all in bfloat16. Written out, the weights (T K for every head) are kept for the
backward pass, so this is for at most `SHORT` keys a channel of a head; else, and on cards, it is torch's attention.

Under autocast, logits and their gradients are float32, and weights are rounded to bfloat16 before the products that
follow, as in torch's kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 4
"""Up to how many keys for each channel of a head: the weights are then no larger than what a layer keeps besides."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T + bias) v.

    Args:
        q: S N T E, any S sequences of N heads.
        k, v: S N K E.
        bias: broadcast to S N T K: 0 where a query may look, else minus infinity.

    Returns:
        S N T E; under autocast in its dtype.
    """
    if not written_out(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    heads = q.shape[:2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    if torch.is_autocast_enabled("cpu"):
        narrow = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            out: Tensor = Rounded.apply(q.to(narrow), k.to(narrow), v.to(narrow), bias, heads)  # type: ignore[no-untyped-call]
    else:
        out = torch.bmm(weights(q, k, bias, heads), v)
    return out.view(*heads, *out.shape[1:])


def weights(q: Tensor, k: Tensor, bias: Tensor | None, heads: torch.Size) -> Tensor:
    """softmax(q k^T + bias): (S N) T K, with S and N as `heads` says."""
    logits = torch.bmm(q, k.mT)
    if bias is not None:
        logits = (logits.view(*heads, *logits.shape[1:]) + bias).flatten(0, 1)
    return logits.softmax(dim=-1)


class Rounded(torch.autograd.Function):
    """Attention in bfloat16, (S N) T E: what follows from logits is float32 until it is a factor of a product."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, heads: torch.Size) -> Tensor:
        kept = weights(q.float(), k.float(), bias, heads).to(v.dtype)
        ctx.save_for_backward(q, k, v, kept)
        return torch.bmm(kept, v)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, kept = ctx.saved_tensors
        (gradient,) = gradients
        with torch.autocast("cpu", enabled=False):
            of_logits = torch.bmm(gradient.float(), v.float().mT)  # so far, of the weights
            of_logits.sub_((of_logits * kept).sum(dim=-1, keepdim=True)).mul_(kept)
            rounded = of_logits.to(v.dtype)
            return torch.bmm(rounded, k), torch.bmm(rounded.mT, q), torch.bmm(kept.mT, gradient), None, None


def written_out(q: Tensor, k: Tensor) -> bool:
    """Whether products and softmax are written out for these: few keys, on a CPU, in float32, float64 or autocast."""
    wide = q.dtype in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu")
    return q.device.type == "cpu" and wide and k.shape[-2] <= SHORT * q.shape[-1]
