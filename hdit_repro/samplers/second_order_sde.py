"""What the two variants of DPM-Solver++(2M) SDE share: all but the weight of their second-order term."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Denoise, Noise, at_level, steps, stochastic


@torch.no_grad()
def second_order_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    weight: Callable[[float], float],
    noise: Noise | None,
    eta: float,
) -> Tensor:
    """One call a step. The first step is of first order; the one that ends at 0 returns D itself.

    Args:
        weight: from a step's effective length h (1 + eta), h in log sigma, to the weight of the difference of the
            last two denoised images, scaled to one step.

    Raises:
        UserError: sigmas do not fall, eta is negative, or eta is above 0 and there is no noise.
    """
    unit_noise = stochastic(noise, eta)
    before: tuple[Tensor, float] | None = None
    for step, (sigma, after) in enumerate(steps(sigmas)):
        denoised = denoise(x, at_level(x, sigma))
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        span = h * (1 + eta)
        x = x * math.exp(-span) - denoised * math.expm1(-span)
        if before is not None:
            older, h_older = before
            x = x + (denoised - older) * (weight(span) * h / h_older)
        if eta:
            x = x + unit_noise(step) * (after * math.sqrt(-math.expm1(-2 * eta * h)))
        before = denoised, h
    return x
