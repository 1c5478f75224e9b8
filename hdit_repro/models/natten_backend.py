"""NATTEN for neighborhood attention: its CUDA kernels, or on a CPU its flex backend. Nothing else imports natten."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NARROW = (torch.float32, torch.float16, torch.bfloat16)
FLEX_WIDTHS = (8, 16, 32, 64, 128, 256, 512)
"""Head widths that NATTEN's flex backend takes."""


@dataclass(frozen=True)
class Fast:
    """NATTEN's two-dimensional neighborhood attention by libnatten, which chooses among its kernels: those for Hopper
    and Blackwell take half precision alone."""

    na2d: Callable[..., Tensor]

    def takes(self, q: Tensor, kernel: int) -> bool:
        """Whether the kernels take it: on CUDA, at most 32 bits, heads a multiple of 8 wide, a kernel of 2 or more."""
        return q.is_cuda and q.dtype in NARROW and q.shape[-1] % 8 == 0 and kernel >= 2

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
        """q, k, v: B H W N E. Scale 1: it is in q and k already."""
        return self.na2d(q, k, v, kernel_size=kernel, scale=1.0)


@dataclass(frozen=True)
class Flex:
    """NATTEN's flex backend on a CPU: forward only, for torch's flex_attention has no more there."""

    na2d: Callable[..., Tensor]

    def takes(self, q: Tensor, kernel: int) -> bool:
        """Whether it takes it: on a CPU without gradients, at most 32 bits, a head width of its list."""
        forward = q.device.type == "cpu" and not (q.requires_grad and torch.is_grad_enabled())
        return forward and q.dtype in NARROW and q.shape[-1] in FLEX_WIDTHS and kernel >= 2

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
        """q, k, v: B H W N E. Scale 1: it is in q and k already."""
        return self.na2d(q, k, v, kernel_size=kernel, scale=1.0, backend="flex-fna")


def load() -> Any | str:
    """The module natten, or why there is none.

    Raises:
        Exception: whatever else natten meets when it is imported.
    """
    try:
        return importlib.import_module("natten")
    except ModuleNotFoundError as error:
        if error.name != "natten":
            return f"natten is installed and cannot be imported: {error}"
        return "natten is not installed"
    except ImportError as error:
        return f"natten is installed and cannot be imported: {error}"


def kernels() -> Fast | str:
    """The CUDA kernels, or why there are none."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    natten = load()
    if isinstance(natten, str):
        return natten
    if not hasattr(natten, "HAS_LIBNATTEN"):
        return f"natten {natten.__version__} is from before 0.20, whose interface is another"
    if not natten.HAS_LIBNATTEN:
        return f"natten {natten.__version__} was built without libnatten, its CUDA kernels"
    return Fast(natten.na2d)


def flex() -> Flex | str:
    """The flex backend, or why there is none.

    On a card it would have to be compiled, which NATTEN refuses unless it is told to, and advises against where there
    are gradients.
    """
    if torch.cuda.is_available():
        return "natten does not compile its flex backend for a card unasked; torch-flex is flex_attention there"
    natten = load()
    return natten if isinstance(natten, str) else Flex(natten.na2d)
