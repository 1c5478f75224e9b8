"""A running count of multiply-accumulates and parameters, part by part."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar, NamedTuple

PARTS = (
    "patch in", "positions", "mapping", "norms", "attention projections", "attention", "feed-forward", "gates",
    "merges", "splits", "skips", "patch out",
)  # fmt: skip
"""Every part a network's cost is split into, in the order of the forward pass."""


class Part(NamedTuple):
    """One part's share: multiply-accumulates of one forward pass of one image, and trainable parameters."""

    macs: int
    parameters: int


class Cost(NamedTuple):
    """What a network costs: MACs of one forward pass of one image, trainable parameters, and both by part.

    The paper's "GFLOP" is 1e9 of these MACs; floating-point operations are twice as many (`flops`).
    """

    macs: int
    parameters: int
    parts: dict[str, Part]

    @property
    def flops(self) -> int:
        """Two floating-point operations for each multiply-accumulate."""
        return 2 * self.macs


class Tally:
    """Adds up linear layers, attention products and loose parameters under the names of `order`."""

    order: ClassVar[tuple[str, ...]] = PARTS

    def __init__(self) -> None:
        self._macs: dict[str, int] = defaultdict(int)
        self._parameters: dict[str, int] = defaultdict(int)

    def linear(self, part: str, inputs: int, outputs: int, tokens: int, *, bias: bool = False, times: int = 1) -> None:
        """`times` linear layers applied to `tokens` tokens: in * out MACs a token; biases cost parameters only."""
        self._macs[part] += inputs * outputs * tokens * times
        self._parameters[part] += (inputs * outputs + (outputs if bias else 0)) * times

    def attention(self, tokens: int, seen: int, width: int, *, times: int = 1) -> None:
        """q @ k and weights @ v: each of `tokens` queries meets `seen` keys, 2 * width MACs a pair."""
        self._macs["attention"] += 2 * tokens * seen * width * times

    def parameters(self, part: str, count: int) -> None:
        """Trainable parameters that cost no multiply-accumulate (scales, embeddings, positions)."""
        self._parameters[part] += count

    def close(self) -> Cost:
        """The sums; parts that cost nothing are left out."""
        names = [part for part in self.order if self._macs[part] or self._parameters[part]]
        unknown = {*self._macs, *self._parameters} - {*self.order}
        assert not unknown, f"parts without a place: {unknown}"
        parts = {name: Part(self._macs[name], self._parameters[name]) for name in names}
        return Cost(sum(part.macs for part in parts.values()), sum(part.parameters for part in parts.values()), parts)
