"""The chain of DiT's discrete diffusion: its betas, and which of its steps a shorter chain keeps. float64."""

from __future__ import annotations

import torch
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.spec.diffusion import LINEAR_BETAS


def linear_betas(timesteps: int) -> Tensor:
    """(timesteps) from 1e-4 to 0.02 at 1000 steps (Ho et al., 2020), scaled by 1000 / timesteps for other numbers.

    Raises:
        UserError: so few timesteps that the last beta reaches 1.
    """
    first, last, whole = LINEAR_BETAS
    scale = whole / timesteps if timesteps > 0 else float("inf")
    if scale * last >= 1:
        raise UserError(
            "this diffusion has too few timesteps for linear betas",
            found=f"timesteps = {timesteps}, so the last beta is {scale * last:g}",
            expected="21 or more",
            fix="the paper's chain has 1,000",
        )
    return torch.linspace(scale * first, scale * last, timesteps, dtype=torch.float64)


def spaced_timesteps(timesteps: int, steps: int) -> list[int]:
    """The `steps` timesteps of 0 ... timesteps - 1 that a respaced chain keeps, evenly, the first and last among them.

    As DiT's respacing of one section ("250"): positions are summed up in floating point and then rounded to even.

    Raises:
        UserError: fewer than two steps, or more than there are timesteps.
    """
    if not 2 <= steps <= timesteps:
        raise UserError(
            "there is no such respaced chain",
            found=f"{steps} of {timesteps} steps",
            expected=f"2 to {timesteps} steps",
            fix="correct the sampler's steps in the job",
        )
    stride, at, kept = (timesteps - 1) / (steps - 1), 0.0, []
    for _ in range(steps):
        kept.append(round(at))
        at += stride
    return kept


def respace(betas: Tensor, kept: list[int]) -> Tensor:
    """The betas of the chain that keeps those timesteps, so that its cumulative products are the long chain's there."""
    products = (1 - betas).cumprod(0)[kept]
    before = torch.cat([products.new_ones(1), products[:-1]])
    return 1 - products / before
