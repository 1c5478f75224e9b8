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

from hdit_repro.diffusion.density import cosine_interpolated
from hdit_repro.diffusion.noise import normals, uniforms
from hdit_repro.seeds import derive
from hdit_repro.spec.diffusion import Edm


class Stream(IntEnum):
    """What a draw's random numbers are used for. The numbers are part of what a run is; never renumber."""

    NOISE = 0
    LEVEL = 1
    LABEL = 2
    VARIANT = 3


def draw_keys(seed: int, draws: Sequence[int]) -> Tensor:
    """One 64-bit key a draw, as int64 (two's complement): B."""
    keys = [derive(seed, draw, "draw") for draw in draws]
    return torch.tensor([key - (1 << 64) if key >> 63 else key for key in keys], dtype=torch.int64)


def noise_like(keys: Tensor, images: Tensor) -> Tensor:
    """Unit normal noise for a batch of images, B C H W, on their device and in their dtype."""
    return normals(keys.to(images.device), Stream.NOISE, tuple(images.shape[1:]), images.dtype, images.device)


def quantiles(keys: Tensor, places: Sequence[int], batch: int, stratified: bool) -> Tensor:
    """Where each draw falls in the distribution of noise levels: B, float64, in [0, 1).

    Stratified (Section 5.1), place j of a global batch of n gets (j + r) / n with r uniform; so the strata belong to
    the global batch, however it is split.

    Args:
        places: each draw's place in the global batch, 0 to batch - 1.
        batch: size of the global batch.
    """
    r = uniforms(keys, Stream.LEVEL, (), torch.float64)
    if not stratified:
        return r
    return (torch.tensor(places, dtype=torch.float64) + r) / batch


def noise_levels(edm: Edm, image_size: int, u: Tensor) -> Tensor:
    """sigma at quantiles u (B, float64) of the run's density: B, float64."""
    density = edm.density
    return cosine_interpolated(
        u,
        image_size,
        noise_d_low=density.noise_d_low,
        noise_d_high=density.noise_d_high,
        sigma_data=edm.sigma_data,
        sigma_min=edm.sigma_min,
        sigma_max=edm.sigma_max,
    )


def drop_labels(keys: Tensor, labels: Tensor | None, classes: int, rate: float) -> Tensor | None:
    """Labels (B, int64) with some replaced by `classes`, the dropped class, at probability `rate`; None stays None."""
    if labels is None or not classes:
        return None
    dropped = uniforms(keys, Stream.LABEL, (), torch.float64) < rate
    return torch.where(dropped, torch.full_like(labels, classes), labels)
