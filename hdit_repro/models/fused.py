"""The pointwise parts of a layer in fewer passes over memory: norm and scale, length and rotation of q and k, GEGLU.

Each has its gradient by hand, keeps its inputs and one number a row, and gives what the plain operations give to
rounding; gradients of narrow inputs are float32 until they are done. In compiled code, where the compiler joins the
passes itself, the plain operations run. First derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hdit_repro.models.arithmetic import wide

BLOCK = 2**18
"""Values that a CPU core's cache holds beside what is computed from them: 1 MiB of float32."""


def fits(x: Tensor) -> bool:
    """Whether the fused forms take it: not while code is compiled, and in the precisions that networks train in."""
    return x.dtype in (torch.float64, torch.float32, torch.bfloat16) and not torch.compiler.is_compiling()


class ScaledNorm(torch.autograd.Function):
    """x / rms(x) * scale: x (B H W D or B D), scale (D) or (B 1 1 D), each of any precision; the result is in x's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        dtype = wide(x.dtype, scale.dtype)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
        inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, inverse)
        narrow = x.dtype != dtype
        out: Tensor = x * (scale * inverse).to(x.dtype) if narrow else (x * inverse).mul_(scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, inverse = ctx.saved_tensors
        gradient = gradients[0].to(inverse.dtype)
        normal = x * inverse
        product = gradient * normal
        of_scale = product.sum_to_size(scale.shape).to(scale.dtype, copy=True)  # where nothing is summed, it is product
        mean = product.mul_(scale).mean(dim=-1, keepdim=True)
        torch.mul(gradient, scale, out=product)
        return product.addcmul_(normal, mean, value=-1).mul_(inverse).to(x.dtype), of_scale, None


class LengthAndTurn(torch.autograd.Function):
    """x (B H W N E) at length root (N), its pairs (i, i + P) turned by cos, sin (H W N P; empty: not at all).

    `root`, `cos` and `sin` are of one precision, x's or a wider one; the result is in x's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, root: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=root.dtype).square_()
        inverse = square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, root, inverse, cos, sin)
        out = torch.empty(x.shape, dtype=root.dtype, device=x.device)
        torch.mul(x, (inverse * root[:, None]).to(x.dtype), out=out)
        turn_(out, cos, sin)
        return out.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, root, inverse, cos, sin = ctx.saved_tensors
        gradient = gradients[0].to(root.dtype, copy=True, memory_format=torch.contiguous_format)
        turn_(gradient, cos, -sin)
        along = (gradient * x).sum(dim=-1, keepdim=True).mul_(inverse)  # of the unturned unit vector
        of_root = along.sum_to_size(root[:, None].shape)[:, 0]
        gradient.addcmul_(x.to(root.dtype), along * inverse, value=-1)
        return gradient.mul_(inverse * root[:, None]).to(x.dtype), of_root, None, None, None


def turn_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate the pairs (i, i + P) of the last axis of x in place."""
    pairs = cos.shape[-1]
    if not pairs:
        return
    first, second = x[..., :pairs], x[..., pairs : 2 * pairs]
    turned = first * cos
    turned.addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(first, sin)
    first.copy_(turned)


class Gated(torch.autograd.Function):
    """value * GELU(gate) of x (... 2D): value the first half, gate the second."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        ctx.save_for_backward(x)
        return F.gelu(gate).mul_(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        rows = (each.flatten(0, -2) for each in (x, gradient, out))
        for part, given, into in zip(*(each.split(block(x)) for each in rows), strict=True):
            (value, gate), (of_value, of_gate) = part.chunk(2, dim=-1), into.chunk(2, dim=-1)
            torch.mul(given, F.gelu(gate), out=of_value)
            torch.ops.aten.gelu_backward.grad_input(given * value, gate, grad_input=of_gate)
        return out


def block(x: Tensor) -> int:
    """How many rows of x to take at once: on a CPU as many as its cache holds, elsewhere all."""
    rows = x.numel() // x.shape[-1]
    return max(1, min(rows, BLOCK // x.shape[-1]) if x.device.type == "cpu" else rows)
