"""Euler's method."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Denoise, at_level, steps


@torch.no_grad()
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """First order, deterministic: dx/dsigma = (x - D(x, sigma)) / sigma, one call a step.

    Args:
        denoise: D(x: B C H W, sigma: B).
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.

    Raises:
        UserError: sigmas do not fall.
    """
    for sigma, after in steps(sigmas):
        denoised = denoise(x, at_level(x, sigma))
        x = x + (x - denoised) * ((after - sigma) / sigma)
    return x
