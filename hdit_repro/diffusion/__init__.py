"""What turns a network into a denoiser, what it learns from, and the noise of both.

EDM: precondition, weighting, density, loss. R1's discrete diffusion: gaussian. For all: guidance, noise.
"""

from __future__ import annotations

from hdit_repro.diffusion.density import DENSITIES, cosine_interpolated, noise_levels, stratify_draws
from hdit_repro.diffusion.gaussian import GaussianDiffusion, GaussianLosses
from hdit_repro.diffusion.guidance import guide
from hdit_repro.diffusion.loss import edm_loss
from hdit_repro.diffusion.noise import as_keys, normals, uniforms
from hdit_repro.diffusion.precondition import Precondition, Scalings, scalings
from hdit_repro.diffusion.weighting import WEIGHTINGS, loss_weight

__all__ = [
    "DENSITIES",
    "WEIGHTINGS",
    "GaussianDiffusion",
    "GaussianLosses",
    "Precondition",
    "Scalings",
    "as_keys",
    "cosine_interpolated",
    "edm_loss",
    "guide",
    "loss_weight",
    "noise_levels",
    "normals",
    "scalings",
    "stratify_draws",
    "uniforms",
]
