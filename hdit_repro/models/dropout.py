"""Dropout whose masks belong to the sample: the same whatever the batch, the number of processes or a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, library, nn

# The finaliser of splitmix64 (Steele et al., 2014); constants as signed 64-bit integers.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64
BITS = 24


class Dropout(nn.Module):
    """Zero a share `rate` of values while training and scale the rest by 1 / (1 - rate).

    Under `keyed` the mask of a sample is a function of its key, this module's number in the network and the place of
    the value. Without keys it comes from torch's own generator.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        assert 0 <= rate < 1, f"{rate=} is no share in [0, 1)"
        self.rate = rate
        self.keys: Tensor | None = None

    def extra_repr(self) -> str:
        return f"rate={self.rate}"

    def forward(self, x: Tensor) -> Tensor:  # B ...
        if not self.training or self.rate == 0:
            return x
        if self.keys is None:
            return F.dropout(x, self.rate)
        drawn = opaque_uniform if torch.compiler.is_compiling() else uniform
        keep = drawn(self.keys, x.shape) >= self.rate
        return x * keep.to(x.dtype) * (1 / (1 - self.rate))


@contextlib.contextmanager
def keyed(network: nn.Module, keys: Tensor) -> Iterator[None]:
    """Within the block, every dropout mask of `network` is a function of the samples' keys.

    Args:
        network: any module; its `Dropout` modules are numbered in the order of `modules()`.
        keys: int64, B, on the network's device: one key a sample, such as one derived from its draw number.
    """
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    for number, layer in enumerate(layers):
        if not layer.rate:  # it has a number and needs no keys, which would be ten kernels on a card
            continue
        layer.keys = mix(keys + _signed((number + 1) * GOLDEN))
    try:
        yield
    finally:
        for layer in layers:
            layer.keys = None


def uniform(keys: Tensor, shape: torch.Size) -> Tensor:
    """float32 in [0, 1) of `shape` (B ...), row b a function of keys[b] alone: splitmix64 at (key, place)."""
    places = torch.arange(shape[1:].numel(), device=keys.device, dtype=torch.int64)
    bits = mix(keys[:, None] + (places + 1) * GOLDEN)
    out: Tensor = _shift(bits, 64 - BITS).to(torch.float32) / 2**BITS
    return out.reshape(shape)


@library.custom_op("hdit_repro::uniform", mutates_args=(), schema="(Tensor keys, int[] shape) -> Tensor")
def opaque_uniform(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """`uniform` as one operation that the compiler does not look into: its integers of 64 bits do not wrap around."""
    return uniform(keys, torch.Size(shape))


@opaque_uniform.register_fake
def _like_uniform(keys: Tensor, shape: Sequence[int]) -> Tensor:
    return keys.new_empty(shape, dtype=torch.float32)


def mix(x: Tensor) -> Tensor:
    """The finaliser: int64 to int64, one to one, arithmetic modulo 2^64."""
    x = (x ^ _shift(x, 30)) * FIRST
    x = (x ^ _shift(x, 27)) * SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right; torch's own carries the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
