"""Loss weights, all for the squared error of the network output F: w_F = w_x0 c_out^2.

Equation 5 prints a division by c_out^2 in its middle expression; its last expression, and the released code, multiply.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hdit_repro.diffusion.precondition import scalings
from hdit_repro.errors import UserError, pick
from hdit_repro.spec.base import fields_of, kind_of
from hdit_repro.spec.diffusion import Weighting

Weigh = Callable[..., Tensor]  # (sigma, sigma_data, ...) -> w_F, in sigma's shape and dtype; keywords differ by kind


def snr(sigma: Tensor, sigma_data: float, gamma: float | None = None) -> Tensor:
    """w_x0 = 1 / sigma^2 (Equation 7), so w_F = sigma_data^2 / (sigma^2 + sigma_data^2). It has no gamma."""
    _has_no_gamma("snr", gamma)
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def min_snr(sigma: Tensor, sigma_data: float, gamma: float | None = None) -> Tensor:
    """w_x0 = min(1 / sigma^2, gamma) (Equation 8; Hang et al., 2023). gamma of None is 1 / sigma_data^2."""
    return (sigma**-2).clamp(max=_cap(gamma, sigma_data)) * _c_out_squared(sigma, sigma_data)


def soft_min_snr(sigma: Tensor, sigma_data: float, gamma: float | None = None) -> Tensor:
    """w_x0 = 1 / (sigma^2 + 1 / gamma) (Equation 9). gamma of None is 1 / sigma_data^2 (4 at sigma_data 0.5)."""
    return _c_out_squared(sigma, sigma_data) / (sigma**2 + 1 / _cap(gamma, sigma_data))


def edm(sigma: Tensor, sigma_data: float, gamma: float | None = None) -> Tensor:
    """w_x0 = 1 / c_out^2 (Karras et al., 2022), so w_F = 1. It has no gamma."""
    _has_no_gamma("edm", gamma)
    return torch.ones_like(sigma)


# Keys are the tags of spec.diffusion.Weighting.
WEIGHTINGS: dict[str, Weigh] = {"snr": snr, "min_snr": min_snr, "soft_min_snr": soft_min_snr, "edm": edm}


def loss_weight(weighting: Weighting, sigma: Tensor, sigma_data: float) -> Tensor:
    """The weight that a job's `weighting` gives to the squared error of F at sigma; same shape and dtype as sigma."""
    weigh = pick(WEIGHTINGS, kind_of(weighting), kind="loss weighting")
    return weigh(sigma, sigma_data, **fields_of(weighting))


def _c_out_squared(sigma: Tensor, sigma_data: float) -> Tensor:
    return scalings(sigma, sigma_data).out ** 2


def _cap(gamma: float | None, sigma_data: float) -> float:
    if gamma is None:
        return 1 / sigma_data**2
    if not gamma > 0:
        raise UserError(
            "gamma caps the weight 1 / sigma^2",
            found=f"gamma = {gamma}",
            expected="a number above 0",
            fix="the paper's is 4 (Table 5) or 5 (Min-SNR)",
        )
    return gamma


def _has_no_gamma(name: str, gamma: float | None) -> None:
    if gamma is not None:
        raise UserError(
            f"the weighting {name!r} has no gamma",
            found=f"gamma = {gamma}",
            expected="None",
            fix="use min_snr or soft_min_snr, or leave gamma out",
        )
