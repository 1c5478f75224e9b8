"""DPM-Solver++(2M) SDE, midpoint variant."""

from __future__ import annotations

import math

from torch import Tensor

from hdit_repro.samplers.contract import Denoise, Noise
from hdit_repro.samplers.second_order_sde import second_order_sde


def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Second order, multistep, with noise: Lu et al. (2022), SDE-DPM-Solver++(2M). With eta 0 it is DPM-Solver++(2M).

    Args:
        denoise: D(x: B C H W, sigma: B); one call a step.
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.
        noise: from the number of a step to unit noise like x; needed when eta is above 0.
        eta: scale of the noise; 0 is the ordinary differential equation, 1 the reverse diffusion.

    Raises:
        UserError: sigmas do not fall, eta is negative, or eta is above 0 and there is no noise.
    """
    return second_order_sde(denoise, x, sigmas, _midpoint, noise, eta)


def _midpoint(span: float) -> float:
    return -0.5 * math.expm1(-span)
