"""DPM-Solver++(2M)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Denoise, at_level, steps


@torch.no_grad()
def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Second order, multistep, deterministic: Algorithm 2 of Lu et al. (2022), data prediction. One call a step.

    The first step, and the one that ends at 0, are of first order.

    Args:
        denoise: D(x: B C H W, sigma: B).
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.

    Raises:
        UserError: sigmas do not fall.
    """
    before: tuple[Tensor, float] | None = None  # D of the step before, and its length in log sigma
    for sigma, after in steps(sigmas):
        denoised = denoise(x, at_level(x, sigma))
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        toward = denoised
        if before is not None:
            older, h_older = before
            toward = denoised + (denoised - older) * (h / (2 * h_older))  # extrapolated by half a step
        x = x * (after / sigma) - toward * math.expm1(-h)
        before = denoised, h
    return x
