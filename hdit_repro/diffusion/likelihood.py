"""The two terms of the variational bound, for each value of an image, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TINY = 1e-12  # probabilities below it count as it


def gaussian_kl(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """KL(a || b) of two normal distributions, element by element."""
    ratio = log_variance_a - log_variance_b
    return 0.5 * (ratio.exp() - ratio - 1 + (mean_a - mean_b) ** 2 * torch.exp(-log_variance_b))


def discretized_nll(image: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """-log of a normal distribution's mass on the bin of an 8-bit value (Ho et al., 2020, Equation 13).

    Bins are 2/255 wide; the outermost reach to infinity. The normal's distribution function is the tanh approximation
    that DiT takes.

    Args:
        image: values of 8-bit images in [-1, 1].
        mean, log_scale: of the normal, in the same units and shape.
    """
    inverse = torch.exp(-log_scale)
    below_upper = _normal_cdf(inverse * (image - mean + 1 / 255))
    below_lower = _normal_cdf(inverse * (image - mean - 1 / 255))
    mass = torch.where(image > 0.999, 1 - below_lower, below_upper - below_lower)
    return -torch.where(image < -0.999, below_upper, mass).clamp(min=TINY).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
