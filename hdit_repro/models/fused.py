"""The pointwise parts of a layer in fewer passes over memory: norm and scale, length and rotation of q and k, GEGLU.

Each has its gradient by hand, keeps its inputs and one number a row, and gives what the plain operations give to
rounding. They are for eager float32 and float64; in narrower precisions and in compiled code (where the compiler joins
the passes itself) the plain operations run. First derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 2**18
"""Values that a CPU core's cache holds beside what is computed from them: 1 MiB of float32."""


def fits(*tensors: Tensor) -> bool:
    """Whether the fused forms take these: eager, all float32 or all float64."""
    dtype = tensors[0].dtype
    wide = dtype in (torch.float32, torch.float64) and all(each.dtype == dtype for each in tensors)
    return wide and not torch.compiler.is_compiling()


class ScaledNorm(torch.autograd.Function):
    """x / rms(x) * scale: x (B H W D or B D), scale (D) or (B 1 1 D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, inverse)
        out: Tensor = (x * inverse).mul_(scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,), (x, scale, inverse) = gradients, ctx.saved_tensors
        normal = x * inverse
        product = gradient * normal
        of_scale = product.sum_to_size(scale.shape)
        mean = product.mul_(scale).mean(dim=-1, keepdim=True)
        torch.mul(gradient, scale, out=product)
        return product.addcmul_(normal, mean, value=-1).mul_(inverse), of_scale, None


class LengthAndTurn(torch.autograd.Function):
    """x (B H W N E) at length root (N), its pairs (i, i + P) turned by cos, sin (H W N P; empty: not at all)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, root: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, root, inverse, cos, sin)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        torch.mul(x, inverse * root[:, None], out=out)
        turn_(out, cos, sin)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, root, inverse, cos, sin = ctx.saved_tensors
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        turn_(gradient, cos, -sin)
        along = (gradient * x).sum(dim=-1, keepdim=True).mul_(inverse)  # of the unturned unit vector
        of_root = along.sum_to_size(root[:, None].shape)[:, 0]
        gradient.addcmul_(x, along * inverse, value=-1)
        return gradient.mul_(inverse * root[:, None]), of_root, None, None, None


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
