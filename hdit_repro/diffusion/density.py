"""Which noise levels a network is trained at: a quantile function of sigma, and how its quantiles are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hdit_repro.errors import UserError, pick
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.diffusion import Edm


def cosine_interpolated(
    u: Tensor,
    image_size: float,
    noise_d_low: float = 32,
    noise_d_high: float | None = None,
    sigma_data: float = 0.5,
    sigma_min: float = 1e-3,
    sigma_max: float = 1e3,
) -> Tensor:
    """The interpolated shifted cosine schedule of Hoogeboom et al. (2023), as a quantile function of sigma.

    Two cosine schedules, shifted to the noise resolutions `noise_d_low` and `noise_d_high` (pixels), are interpolated
    in log SNR by u itself. Both pass through sigma_max at u = 0 and sigma_min at u = 1.

    Args:
        u: quantiles in [0, 1], any shape, floating.
        image_size: side of the image in pixels.
        noise_d_low: at most `noise_d_high`, or sigma need not fall with u.
        noise_d_high: None is the image size, which shifts nothing.
        sigma_data: standard deviation of the data; the SNR is (sigma_data / sigma)^2.

    Returns:
        sigma, in the shape and dtype of u. It is computed in float64: near u = 0 the tangent of an angle close to
        pi / 2 is taken, which float32 gets wrong in the third digit.

    Raises:
        UserError: a size is not above 0, or not 0 < sigma_min < sigma_max, or u is not floating.
    """
    high = image_size if noise_d_high is None else noise_d_high
    sizes = (image_size, noise_d_low, high, sigma_data, sigma_min)
    if not all(size > 0 for size in sizes) or not sigma_min < sigma_max:
        raise UserError(
            "there is no such density of noise levels",
            found=f"image_size = {image_size}, noise_d_low = {noise_d_low}, noise_d_high = {high}, "
            f"sigma_data = {sigma_data}, sigma_min = {sigma_min}, sigma_max = {sigma_max}",
            expected="all above 0, and sigma_min < sigma_max",
            fix="correct the density's numbers in the job, or leave them to their defaults",
        )
    if not u.is_floating_point():
        raise UserError(
            "quantiles are floating-point numbers",
            found=u.dtype,
            expected="float32 or float64",
            fix="u.to(torch.float32)",
        )
    at = u.double()

    def log_ratio(noise_d: float) -> Tensor:
        """log(sigma / sigma_data) of the schedule shifted to `noise_d`."""
        shift = image_size / noise_d  # a sigma at image_size is one of sigma / shift at noise_d
        first = math.atan(sigma_max / sigma_data / shift)
        last = math.atan(sigma_min / sigma_data / shift)
        return (first + at * (last - first)).tan().log() + math.log(shift)

    return (torch.lerp(log_ratio(noise_d_low), log_ratio(high), at).exp() * sigma_data).to(u.dtype)


def stratify_draws(uniform: Tensor, position: Tensor, batch: int) -> Tensor:
    """u_j = (j + r_j) / n: one quantile in each of n equal strata, whoever computes which of them.

    Args:
        uniform: r, in [0, 1), one a draw.
        position: j, the draw's place in the global batch, 0 to batch - 1; same shape as `uniform`.
        batch: n, the global batch.

    Returns:
        u in [0, 1), in the dtype of `uniform` (in float32 the last stratum may round up to 1).

    Raises:
        UserError: `batch` is below 1.
    """
    if batch < 1:
        raise UserError(
            "a batch has one draw or more",
            found=f"batch = {batch}",
            expected="1 or more",
            fix="ask for one draw or more",
        )
    return (position.to(uniform.dtype) + uniform) / batch


Quantile = Callable[[Tensor, Edm, int], Tensor]


def _cosine_interpolated(u: Tensor, edm: Edm, image_size: int) -> Tensor:
    low, high = edm.density.noise_d_low, edm.density.noise_d_high
    return cosine_interpolated(u, image_size, low, high, edm.sigma_data, edm.sigma_min, edm.sigma_max)


# Keys are the tags of spec.diffusion.Density.
DENSITIES: dict[str, Quantile] = {"cosine-interpolated": _cosine_interpolated}


def noise_levels(edm: Edm, image_size: int, uniform: Tensor, position: Tensor, batch: int) -> Tensor:
    """The noise level of each draw, as a job's `diffusion` asks: stratified over the global batch or independent.

    Args:
        image_size: side of the image in pixels.
        uniform: (B), in [0, 1), one a draw, keyed by the draw's number.
        position: (B), each draw's place in its global batch.
        batch: the global batch.

    Returns:
        sigma: (B), in the dtype of `uniform`.

    Raises:
        UserError: as `cosine_interpolated`, or as `stratify_draws` where draws are stratified.
    """
    quantile = pick(DENSITIES, kind_of(edm.density), kind="noise density")
    return quantile(stratify_draws(uniform, position, batch) if edm.stratified else uniform, edm, image_size)
