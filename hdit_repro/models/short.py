"""Attention over short sequences: on a CPU in wide precision, products and a softmax written out.

Torch's CPU kernel for attention works off one block of one head after another, which costs more than
batched products where a head has few keys. Written out, the weights (T K for every head) are kept for the backward
pass, so this is for at most `SHORT` keys a channel of a head; else, and on cards, it is torch's attention.
"""

from __future__ import annotations

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
        bias: in q's dtype, broadcast to S N T K: 0 where a query may look, else minus infinity.

    Returns:
        S N T E.
    """
    if not written_out(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    shape = (*q.shape[:2], q.shape[2], k.shape[2])
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    logits = torch.bmm(q, k.mT)
    if bias is not None:
        logits = (logits.view(shape) + bias).flatten(0, 1)
    return torch.bmm(logits.softmax(dim=-1), v).view(*shape[:3], v.shape[-1])


def written_out(q: Tensor, k: Tensor) -> bool:
    """Whether products and softmax are written out for these: few keys, float32 or float64, on a CPU, no autocast."""
    wide = q.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return q.device.type == "cpu" and wide and k.shape[-2] <= SHORT * q.shape[-1]
