"""What computes neighborhood attention in this process: chosen once, with its reason. All give the same to rounding.

    natten        NATTEN's CUDA kernels (libnatten)
    torch-flex    torch's flex_attention under a block mask, compiled (on a card by Triton, which needs a C compiler)
    natten-flex   NATTEN's way through flex_attention, on a CPU
    tiled         plain torch, tile by tile: any device, any dtype, gradients everywhere

On CUDA the first of natten and torch-flex that is here; else tiled. The environment variable
`HDIT_REPRO_NEIGHBORHOOD` names another. What the chosen one does not take (a dtype, a head width, gradients of flex
on a CPU) goes through tiled. The choice is no part of a run's identity; a record's provenance names it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.machine import NEIGHBORHOOD, asked_backend
from hdit_repro.models import flex_backend, natten_backend

LOG = logging.getLogger(__name__)


class Fast(Protocol):
    """Neighborhood attention of B H W N E with scale 1, for what it `takes`."""

    def takes(self, q: Tensor, kernel: int) -> bool: ...
    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: int) -> Tensor: ...


@dataclass(frozen=True)
class Backend:
    """What computes neighborhood attention: `name`, why, and the means (None is plain torch)."""

    name: str
    reason: str
    fast: Fast | None = None

    def __str__(self) -> str:
        return f"neighborhood attention: {self.name} ({self.reason})"


BACKENDS: dict[str, Callable[[], Fast | str | None]] = {
    "natten": natten_backend.kernels,
    "torch-flex": flex_backend.flex,
    "natten-flex": natten_backend.flex,
    "tiled": lambda: None,
}
"""Each gives its means, None for plain torch, or why it is not to be had here."""


def probe() -> Backend:
    """Look for the backend of this process, now.

    Raises:
        UserError: the variable names one that is unknown or not to be had here.
    """
    if asked := asked_backend():
        return _asked(asked)
    found = BACKENDS["natten"]()
    if found is not None and not isinstance(found, str):
        return Backend("natten", "its CUDA kernels are here", found)
    if not torch.cuda.is_available():
        return Backend("tiled", str(found))
    flex = BACKENDS["torch-flex"]()
    return Backend("tiled", f"{found}; {flex}") if isinstance(flex, str) else Backend("torch-flex", str(found), flex)


def _asked(name: str) -> Backend:
    found = BACKENDS[name]()
    if isinstance(found, str):
        raise UserError(
            f"{NEIGHBORHOOD} names a backend that is not to be had here",
            found=found,
            expected=f"{name} to work",
            fix=f"unset {NEIGHBORHOOD}, or export {NEIGHBORHOOD}=tiled",
        )
    return Backend(name, f"{NEIGHBORHOOD} asks for it", found)


@lru_cache(maxsize=1)
def choose() -> Backend:
    """The backend of this process, chosen at the first call and logged there.

    Raises:
        UserError: as `probe`.
    """
    backend = probe()
    LOG.info("%s", backend)
    return backend
