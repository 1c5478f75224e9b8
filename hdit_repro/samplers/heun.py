"""Heun's second-order method."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Denoise, at_level, steps


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Second order, deterministic: Algorithm 1 of Karras et al. (2022). Two calls a step, one where it ends at 0.

    Args:
        denoise: D(x: B C H W, sigma: B).
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.

    Raises:
        UserError: sigmas do not fall.
    """
    for sigma, after in steps(sigmas):
        denoised = denoise(x, at_level(x, sigma))
        slope = (x - denoised) / sigma
        ahead = x + slope * (after - sigma)
        if after == 0:  # no slope is defined at sigma 0, so the step is Euler's
            x = ahead
            continue
        slope_ahead = (ahead - denoise(ahead, at_level(x, after))) / after
        x = x + (slope + slope_ahead) * ((after - sigma) / 2)
    return x
