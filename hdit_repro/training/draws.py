"""The random choices of a training step, each from its draw number alone.

Draw k of a run (its place in the stream of images) has one key. Noise, noise level, dropped label and the like come
from that key and a stream number, so that they are the same whatever the batch is split into and after any restart.
Axes: B the draws of a step, C H W the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from hdit_repro.diffusion import as_keys, normals, uniforms
from hdit_repro.seeds import derive


class Stream(IntEnum):
    """What a draw's random numbers are used for. The numbers are part of what a run is; never renumber."""

    NOISE = 0
    LEVEL = 1
    LABEL = 2


def draw_keys(seed: int, draws: Sequence[int]) -> Tensor:
    """One 64-bit key a draw, as int64: B."""
    return as_keys(derive(seed, draw, "draw") for draw in draws)


def noise_like(keys: Tensor, images: Tensor) -> Tensor:
    """Unit normal noise for a batch of images, B C H W, on their device and in their dtype."""
    return normals(keys, Stream.NOISE, tuple(images.shape[1:]), images.dtype, images.device)


def level_uniforms(keys: Tensor) -> Tensor:
    """The uniform number behind each draw's noise level: B, float64, in [0, 1)."""
    return uniforms(keys, Stream.LEVEL, (), torch.float64)


def drop_labels(keys: Tensor, labels: Tensor | None, classes: int, rate: float) -> Tensor | None:
    """Labels (B, int64) with some replaced by `classes`, the dropped class, at probability `rate`.

    None where the network takes no classes.
    """
    if labels is None or not classes:
        return None
    dropped = uniforms(keys, Stream.LABEL, (), torch.float64) < rate
    return torch.where(dropped, torch.full_like(labels, classes), labels)
