"""Sigma grids, and one small function a solver. A solver gets a function `denoise`, never a model."""

from __future__ import annotations

from hdit_repro.samplers.contract import Denoise, Noise, Sampler
from hdit_repro.samplers.dpmpp_2m import dpmpp_2m
from hdit_repro.samplers.dpmpp_2m_sde import dpmpp_2m_sde
from hdit_repro.samplers.dpmpp_2m_sde_heun import dpmpp_2m_sde_heun
from hdit_repro.samplers.dpmpp_3m_sde import dpmpp_3m_sde
from hdit_repro.samplers.euler import euler
from hdit_repro.samplers.heun import heun
from hdit_repro.samplers.sigmas import karras_sigmas

# Keys are the tags of spec.sampling.Sampler but for `ancestral`, which diffusion.GaussianDiffusion does.
SAMPLERS: dict[str, Sampler] = {
    "dpmpp_3m_sde": dpmpp_3m_sde,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_2m_sde_heun": dpmpp_2m_sde_heun,
    "dpmpp_2m": dpmpp_2m,
    "heun": heun,
    "euler": euler,
}

__all__ = [
    "SAMPLERS",
    "Denoise",
    "Noise",
    "Sampler",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde",
    "euler",
    "heun",
    "karras_sigmas",
]
