"""NATTEN's CUDA kernels for neighborhood attention, where they run. The only module that imports natten.

The choice is made once and says why. Without CUDA or without libnatten there is no `fast`, and neighborhood attention
runs through plain torch (`neighborhood.py`), which gives the same numbers to rounding and trains on any device.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fast:
    """NATTEN's two-dimensional neighborhood attention; its layout is B H W N E, ours."""

    na2d: Callable[..., Tensor]
    version: str

    def takes(self, q: Tensor, kernel: int) -> bool:
        """Whether the kernels take it: on CUDA, at most 32 bits, heads a multiple of 8 wide, a kernel of 2 or more."""
        narrow = q.dtype in (torch.float32, torch.float16, torch.bfloat16)
        return q.is_cuda and narrow and q.shape[-1] % 8 == 0 and kernel >= 2

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor:
        """Scale 1: it is in q and k already."""
        return self.na2d(q, k, v, kernel_size=kernel, scale=1.0)


@dataclass(frozen=True)
class Backend:
    """What computes neighborhood attention: `name` is natten or torch, `reason` says why."""

    name: str
    reason: str
    fast: Fast | None = None

    def __str__(self) -> str:
        return f"neighborhood attention: {self.name} ({self.reason})"


def probe() -> Backend:
    """Look for NATTEN with its CUDA kernels, now."""
    if not torch.cuda.is_available():
        return Backend("torch", "there is no CUDA device")
    try:
        natten = importlib.import_module("natten")
    except ModuleNotFoundError as error:
        if error.name != "natten":
            return Backend("torch", f"natten is installed and cannot be imported: {error}")
        return Backend("torch", "natten is not installed")
    except ImportError as error:
        return Backend("torch", f"natten is installed and cannot be imported: {error}")
    if not natten.HAS_LIBNATTEN:
        return Backend("torch", f"natten {natten.__version__} was built without libnatten, its CUDA kernels")
    return Backend("natten", f"natten {natten.__version__} with libnatten", Fast(natten.na2d, natten.__version__))


@lru_cache(maxsize=1)
def choose() -> Backend:
    """The backend of this process, chosen at the first call and logged there."""
    backend = probe()
    LOG.info("%s", backend)
    return backend
