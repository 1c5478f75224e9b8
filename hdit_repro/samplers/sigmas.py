"""Grids of noise levels."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.errors import UserError


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """The grid of Karras et al. (2022), Equation 5: even steps in sigma^(1/rho), from sigma_max down to sigma_min.

    Returns:
        (n + 1), float64, on the CPU; the last is 0. With n = 1: sigma_max, 0.

    Raises:
        UserError: n below 1, rho not above 0 or so small that a root overflows, or not 0 < sigma_min <= sigma_max.
    """
    if n < 1 or not rho > 0 or not 0 < sigma_min <= sigma_max < float("inf"):
        raise _impossible(n, sigma_min, sigma_max, rho, "rho > 0")
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    try:
        low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    except OverflowError as error:
        raise _impossible(n, sigma_min, sigma_max, rho, "a rho of 1 or more") from error
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _impossible(n: int, sigma_min: float, sigma_max: float, rho: float, rhos: str) -> UserError:
    return UserError(
        "there is no such grid of noise levels",
        found=f"n = {n}, sigma_min = {sigma_min}, sigma_max = {sigma_max}, rho = {rho}",
        expected=f"n >= 1, 0 < sigma_min <= sigma_max, {rhos}",
        fix="karras_sigmas(50, 1e-2, 160.0), for example",
    )
