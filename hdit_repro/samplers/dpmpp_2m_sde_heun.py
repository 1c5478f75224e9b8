"""DPM-Solver++(2M) SDE, Heun variant."""

from __future__ import annotations

import math

from torch import Tensor

from hdit_repro.samplers.contract import Denoise, Noise
from hdit_repro.samplers.second_order_sde import second_order_sde


def dpmpp_2m_sde_heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    eta: float = 1.0,
) -> Tensor:
    """As `dpmpp_2m_sde`, with the exact integral of the linear extrapolation in place of its midpoint:
    k-diffusion's solver type "heun".

    Not to be confused with `heun`, which calls the network twice a step.

    Args:
        denoise: D(x: B C H W, sigma: B); one call a step.
        x: B C H W, the state at sigmas[0].
        sigmas: (n + 1), falling.
        noise: from the number of a step to unit noise like x; needed when eta is above 0.
        eta: scale of the noise; 0 is the ordinary differential equation, 1 the reverse diffusion.

    Raises:
        UserError: sigmas do not fall, eta is negative, or eta is above 0 and there is no noise.
    """
    return second_order_sde(denoise, x, sigmas, _linear, noise, eta)


def _linear(span: float) -> float:
    return math.expm1(-span) / span + 1
