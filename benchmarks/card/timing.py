"""Seconds of a piece of work, and the most memory it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from hdit_repro.training.meter import peak_memory

WARM = 2
"""Calls that are not timed; the first may compile."""


class Timed(NamedTuple):
    """seconds: of one call, on average. calls: timed. memory_gib: at most, of the card (on a CPU: of the process)."""

    seconds: float
    calls: int
    memory_gib: float


def settle(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device, seconds: float) -> Timed:
    """Call `work` for about so many seconds, the device waited for before and after."""
    for _ in range(WARM):
        work()
    settle(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = time.perf_counter()
    work()
    settle(device)
    one = max(time.perf_counter() - before, 1e-6)
    calls = max(1, min(1000, int(seconds / one)))
    before = time.perf_counter()
    for _ in range(calls):
        work()
    settle(device)
    return Timed((time.perf_counter() - before) / calls, calls, peak_memory(device))
