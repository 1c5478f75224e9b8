"""x w^T of a linear layer by oneDNN, which torch carries, where torch itself would ask another library.

On x86 torch gives float32 products to MKL. On an AMD CPU oneDNN's are somewhat faster, mostly for the input's gradient.
The weights' gradient stays with torch, where oneDNN would copy both factors and lose more than it gains. Which library
multiplies follows from shape, dtype and device alone, never from a measurement.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

LEAST = 2**20
"""Multiplications below which the call into oneDNN costs more than it saves."""

HERE: bool = (
    platform.machine() in ("x86_64", "AMD64")
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether this build of torch and this machine have the operator."""


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is to multiply x (... I) and weight (O I): float32 on a CPU, and enough to do."""
    return (
        HERE
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= LEAST
        and not torch.is_autocast_enabled("cpu")
    )


# An operator of our own, for the compiler has no place for oneDNN's where the weights still change.
LIBRARY = torch.library.Library("hdit_repro", "DEF")  # type: ignore[no-untyped-call]
LIBRARY.define("product(Tensor x, Tensor weight) -> Tensor")  # type: ignore[no-untyped-call]


@torch.library.impl(LIBRARY, "product", "CPU")
def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


@torch.library.register_fake("hdit_repro::product", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _shape(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@register_flop_formula(torch.ops.hdit_repro.product)
def _flops(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * weight[0]


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    of_x = product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
    of_weight = gradient.flatten(0, -2).t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
    return of_x, of_weight


torch.library.register_autograd("hdit_repro::product", _gradients, setup_context=_keep, lib=LIBRARY)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x (... I) weight^T (O I): ... O; for what `takes` takes."""
    out: Tensor = torch.ops.hdit_repro.product(x, weight)
    return out
