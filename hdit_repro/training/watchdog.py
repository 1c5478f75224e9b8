"""Watches losses and gradients: what is not finite is not taken in, and what jumps is written down."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

LIMIT = 3
"""Steps in a row that may be skipped before the run stops."""
SPIKE = 3.0
"""A loss this many times the running mean is a spike."""
WARM = 20
"""Steps before spikes are looked for."""
MEMORY = 0.98
"""Decay of the running mean."""

Verdict = Literal["fine", "spike", "skip", "stop"]


class Watchdog:
    """Part of a run's state, so that a resumed run judges as one never interrupted.

    skipped: steps not taken so far. row: of them, those just before now. taken: steps taken. mean: running mean of the
    losses of steps taken.
    """

    def __init__(self) -> None:
        self.skipped, self.row, self.taken, self.mean = 0, 0, 0, 0.0

    def judge(self, loss: float, norm: float) -> Verdict:
        """Judge a step by its loss and its gradient's norm, and remember it."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped, self.row = self.skipped + 1, self.row + 1
            return "stop" if self.row >= LIMIT else "skip"
        spike = self.taken >= WARM and loss > SPIKE * self.mean
        self.row, self.taken = 0, self.taken + 1
        decay = min(MEMORY, 1 - 1 / self.taken)
        self.mean = decay * self.mean + (1 - decay) * loss
        return "spike" if spike else "fine"

    def tensor(self) -> Tensor:
        """The state, for a checkpoint: float64, 4."""
        return torch.tensor([self.skipped, self.row, self.taken, self.mean], dtype=torch.float64)

    def restore(self, tensor: Tensor) -> None:
        """Take the state back."""
        skipped, row, taken, self.mean = tensor.tolist()
        self.skipped, self.row, self.taken = int(skipped), int(row), int(taken)
