"""What every solver takes, and the checks they share."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from hdit_repro.errors import UserError

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x: B C H W, sigma: B) -> D(x, sigma): B C H W
Noise = Callable[[int], Tensor]  # number of the step -> unit noise with the shape of x
Sampler = Callable[..., Tensor]  # (denoise, x, sigmas, ...) -> x at the last sigma; keywords differ by solver


def steps(sigmas: Tensor) -> list[tuple[float, float]]:
    """The walk down: (sigma before, sigma after) for each step.

    The levels are Python floats, so that a solver's coefficients are float64 and need no device.

    Args:
        sigmas: (n + 1), strictly falling, the last one 0 or more.

    Raises:
        UserError: fewer than two levels, or levels that do not fall, are negative or are no numbers.
    """
    found: list[float] = sigmas.detach().cpu().tolist() if sigmas.ndim == 1 else []
    pairs = list(pairwise(found))
    if not pairs or not all(a > b for a, b in pairs) or found[-1] < 0 or not math.isfinite(found[0]):
        shown = ", ".join(f"{sigma:g}" for sigma in found[:6]) or f"a tensor of shape {tuple(sigmas.shape)}"
        raise UserError(
            "these sigmas cannot be walked down",
            found=shown + (", ..." if len(found) > 6 else ""),
            expected="a one-dimensional tensor of two or more finite levels, each below the one before, none negative",
            fix="karras_sigmas(n, sigma_min, sigma_max) makes such a grid",
        )
    return pairs


def at_level(x: Tensor, sigma: float) -> Tensor:
    """`sigma` once for each sample of x: (B), in x's dtype."""
    return x.new_full((x.shape[0],), sigma)


def stochastic(noise: Noise | None, eta: float) -> Noise:
    """The source of noise of an SDE solver. With eta 0 it is never asked.

    Raises:
        UserError: eta is negative, or above 0 and there is no `noise`.
    """
    if not eta >= 0:
        raise UserError(
            "eta scales the noise of each step",
            found=f"eta = {eta}",
            expected="0 or more",
            fix="eta=1.0 for the SDE, eta=0.0 for the ODE",
        )
    if noise is None and eta > 0:
        raise UserError(
            "an SDE solver needs noise",
            found=f"eta = {eta} and noise = None",
            expected="noise: a function from the number of a step to unit noise with the shape of x",
            fix="pass noise=..., or eta=0 for the deterministic solver",
        )
    return noise or _none


def _none(step: int) -> Tensor:
    raise AssertionError(f"no noise is taken at eta 0, and step {step} asks for some")
