"""Random numbers by key and place, made on the device: a sample's numbers depend on its key and the stream alone.

The batch, the shard, the number of processes and a restart do not enter. Keys come from seeds.derive; a stream
numbers what one key is asked for more than once (the steps of a sampler, the uses of a draw).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from hdit_repro.diffusion.philox import MASK, Words, philox4x32
from hdit_repro.errors import UserError

WORDS = 4  # of 32 bits, in one block of Philox


def as_keys(seeds: Iterable[int]) -> Tensor:
    """Integers of 64 bits, as seeds.derive gives them, as an int64 tensor (B): two's complement from 2^63 on.

    Raises:
        UserError: a seed below -2^63 or above 2^64 - 1.
    """
    values = list(seeds)
    for value in values:
        if not -(1 << 63) <= value < 1 << 64:
            raise UserError(
                "a key has 64 bits",
                found=value,
                expected="-2^63 to 2^64 - 1",
                fix="derive keys by hdit_repro.seeds.derive",
            )
    return torch.tensor([v - (1 << 64) if v >> 63 > 0 else v for v in values], dtype=torch.int64)


def normals(
    keys: Tensor,
    stream: int | Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal numbers by Box and Muller's transform of 32-bit uniforms; none lies beyond 6.77.

    Args:
        keys: (B), int64, one a sample (`as_keys`).
        stream: which of a key's streams: an integer for all samples, or (B), int64.
        shape: of one sample, such as (C, H, W).
        dtype: of the result; the transform is computed in float64 and rounded once, so that results in different
            dtypes are the same numbers.
        device: where to compute; None is where `keys` lie.

    Returns:
        (B, *shape). Element k of a sample in row-major order is the same in every shape that has one.
    """
    w0, w1, w2, w3 = _blocks(keys, stream, math.prod(shape), device)
    out = torch.empty(*w0.shape, WORDS, dtype=dtype, device=w0.device)
    for at, radius_word, angle_word in ((0, w0, w1), (2, w2, w3)):
        # (word + 1/2) / 2^32 lies in (0, 1), so the logarithm is finite.
        radius = radius_word.double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = angle_word.double().mul_(math.tau * 2.0**-32)
        out[..., at] = angle.cos().mul_(radius)
        out[..., at + 1] = angle.sin_().mul_(radius)
    return _cut(out, shape)


def uniforms(keys: Tensor, stream: int | Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform numbers in [0, 1): multiples of 2^-32 in float64, the same rounded down to multiples of 2^-24 in float32.

    Args as in `normals`; computed where `keys` lie.

    Returns:
        (B, *shape).

    Raises:
        UserError: another dtype, in which rounding would reach 1.
    """
    if dtype not in (torch.float32, torch.float64):
        raise UserError(
            "uniform numbers come in two dtypes",
            found=dtype,
            expected="torch.float32 or torch.float64",
            fix="draw in one of them, and convert afterwards",
        )
    words = torch.stack(_blocks(keys, stream, math.prod(shape)), dim=-1)
    spare_bits = 8 if dtype == torch.float32 else 0
    return _cut((words >> spare_bits).to(dtype).mul_(2.0 ** (spare_bits - 32)), shape)


def _blocks(keys: Tensor, stream: int | Tensor, count: int, device: torch.device | str | None = None) -> Words:
    """Random words for `count` numbers a sample: four (B, blocks) tensors, by counter (block, stream) and key."""
    keys = keys.to(device=keys.device if device is None else device, dtype=torch.int64).reshape(-1, 1)
    block = torch.arange(-(-count // WORDS), device=keys.device).reshape(1, -1)
    if isinstance(stream, int):  # filled in where it is needed: a tensor made on the host would have to be waited for
        streams = torch.full((1, 1), stream, dtype=torch.int64, device=keys.device)
    else:
        streams = stream.to(device=keys.device, dtype=torch.int64).reshape(-1, 1)
    counter = (block & MASK, block >> 32, *_halves(streams))
    return philox4x32(counter, _halves(keys))


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high word of 64-bit integers."""
    return values & MASK, values >> 32 & MASK


def _cut(blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, blocks, 4) -> (B, *shape): the last block may have numbers to spare."""
    return blocks.flatten(1)[:, : math.prod(shape)].reshape(len(blocks), *shape)
