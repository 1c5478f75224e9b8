"""Euler's method."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Callback, Denoise, at_level, steps


@torch.no_grad()
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """First order, deterministic: dx/dsigma = (x - D(x, sigma)) / sigma, one call a step.

    Args:
        denoise: D(x: B C H W, sigma: B).
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.
        callback: called as (step, x, sigma, denoised) before each step is taken.

    Raises:
        UserError: sigmas do not fall.
    """
    for step, sigma, after in steps(sigmas):
        denoised = denoise(x, at_level(x, sigma))
        if callback:
            callback(step, x, sigma, denoised)
        x = x + (x - denoised) * ((after - sigma) / sigma)
    return x
