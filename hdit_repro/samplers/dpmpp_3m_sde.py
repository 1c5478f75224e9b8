"""DPM-Solver++(3M) SDE, the paper's sampler (Section 5.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hdit_repro.samplers.contract import Denoise, Noise, at_level, steps, stochastic


@torch.no_grad()
def dpmpp_3m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Multistep over three denoised images, with noise: as k-diffusion's sampler of that name. One call a step.

    The first step is of first order, the second of second; the one that ends at 0 returns D itself. The released
    formula gives the quadratic term half the weight that its exact integral has, so the method converges with order
    2, not 3, though with a smaller error than the two-image one. It is kept, since the paper's samples rest on it.

    Args:
        denoise: D(x: B C H W, sigma: B).
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.
        noise: from the number of a step to unit noise like x; needed when eta is above 0.
        eta: scale of the noise; 0 is the ordinary differential equation, 1 the reverse diffusion.

    Raises:
        UserError: sigmas do not fall, eta is negative, or eta is above 0 and there is no noise.
    """
    unit_noise = stochastic(noise, eta)
    history: list[tuple[Tensor, float]] = []  # (D, length in log sigma) of the last two steps, newest first
    for step, (sigma, after) in enumerate(steps(sigmas)):
        denoised = denoise(x, at_level(x, sigma))
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        x = _advance(x, denoised, h, h * (1 + eta), history)
        if eta:
            x = x + unit_noise(step) * (after * math.sqrt(-math.expm1(-2 * eta * h)))
        history = [(denoised, h), *history[:1]]
    return x


def _advance(x: Tensor, denoised: Tensor, h: float, span: float, history: list[tuple[Tensor, float]]) -> Tensor:
    """The step without its noise: an exponential integral of the polynomial through the last denoised images.

    h is the step's length in log sigma, span = h (1 + eta) its effective length; differences are per step.
    """
    x = x * math.exp(-span) - denoised * math.expm1(-span)
    if not history:
        return x
    phi_2 = math.expm1(-span) / span + 1
    (denoised_1, h_1), *older = history
    ratio_0 = h_1 / h
    first = (denoised - denoised_1) / ratio_0
    if not older:
        return x + first * phi_2
    ((denoised_2, h_2),) = older
    ratio_1 = h_2 / h
    bend = (first - (denoised_1 - denoised_2) / ratio_1) / (ratio_0 + ratio_1)  # second divided difference
    phi_3 = phi_2 / span - 0.5  # the exact integral of the quadratic term would take twice this
    return x + (first + bend * ratio_0) * phi_2 - bend * phi_3
