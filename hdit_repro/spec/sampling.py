"""How samples are drawn. Plain values, no torch."""

from __future__ import annotations

from typing import Literal

import msgspec

from hdit_repro.spec.base import Choice, Spec, require
from hdit_repro.spec.training import Precision

RHO = 7.0
"""Of the spacing of noise levels (Karras et al., 2022, Equation 5)."""


class Solver(Choice, tag=""):
    """What all samplers share: the number of steps. One alone goes from the highest noise level to 0, whatever the
    noise, the spacing and the lowest level."""

    steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, f"steps start at 1, and {self.steps} is found")
        eta = getattr(self, "eta", 0.0)
        require(eta >= 0, f"eta scales the noise of each step and must not be negative, and {eta} is")

    @property
    def calls(self) -> int:
        """How often it calls the denoiser for one sample; once a step unless a solver says otherwise."""
        return self.steps


class Dpmpp3mSde(Solver, tag="dpmpp_3m_sde"):
    """DPM-Solver++(3M) SDE, the paper's sampler (Section 5.1)."""

    eta: float = 1.0


class Dpmpp2mSde(Solver, tag="dpmpp_2m_sde"):
    """DPM-Solver++(2M) SDE, midpoint variant."""

    eta: float = 1.0


class Dpmpp2mSdeHeun(Solver, tag="dpmpp_2m_sde_heun"):
    """DPM-Solver++(2M) SDE, Heun variant."""

    eta: float = 1.0


class Dpmpp2m(Solver, tag="dpmpp_2m"):
    """DPM-Solver++(2M), deterministic."""


class Heun(Solver, tag="heun"):
    """Heun's second-order method (Karras et al., 2022, Algorithm 1)."""

    @property
    def calls(self) -> int:
        """Twice a step but the last, which ends at sigma 0 and is Euler's."""
        return 2 * self.steps - 1


class Euler(Solver, tag="euler"):
    """Euler's method."""


class Ancestral(Solver, tag="ancestral"):
    """DDPM's ancestral sampling with respacing, for the discrete Gaussian diffusion (R1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 2, f"a respaced chain has 2 steps or more, and {self.steps} is found")


Sampler = Dpmpp3mSde | Dpmpp2mSde | Dpmpp2mSdeHeun | Dpmpp2m | Heun | Euler | Ancestral


class Sampling(Spec):
    """`count` samples of the EMA network. `guidance` is w in D_u + w (D_c - D_u); 1 is no guidance.

    `at_step`: of the average as it was after that step, which the training keeps; unset is the end. `ema_decay`: of a
    further average with that decay, which the training keeps; unset is the run's own. `precision`: of the network's
    products; unset is the training's. `sigma_min`, `sigma_max`: the ends of the noise levels; unset are the
    diffusion's.
    """

    sampler: Sampler
    count: int
    guidance: float = 1.0
    labels: Literal["random", "balanced"] = "random"
    rho: float = RHO
    weights: Literal["ema", "raw"] = "ema"
    seed: int = 0
    at_step: int | msgspec.UnsetType = msgspec.UNSET
    ema_decay: float | msgspec.UnsetType = msgspec.UNSET
    precision: Precision | msgspec.UnsetType = msgspec.UNSET
    sigma_min: float | msgspec.UnsetType = msgspec.UNSET
    sigma_max: float | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = self.at_step is msgspec.UNSET and self.ema_decay is msgspec.UNSET
        require(plain or self.weights == "ema", 'at_step and ema_decay are of averages: weights must be "ema"')
        require(self.at_step is msgspec.UNSET or self.at_step >= 1, f"at_step starts at 1, and {self.at_step} is found")
        require(
            self.ema_decay is msgspec.UNSET or 0 <= self.ema_decay < 1,
            f"ema_decay must be in [0, 1), and {self.ema_decay} is not",
        )
        require(self.seed >= 0, f"seed starts at 0, and {self.seed} is found")
        require(self.rho > 0, f"rho must be positive, and {self.rho} is not")
        require(self.count >= 2, f"at least two samples are needed for a covariance, and {self.count} is found")

    @property
    def network_calls(self) -> int:
        """How often the network is called for one sample; guidance calls it twice for each call of the denoiser."""
        return self.sampler.calls * (1 if self.guidance == 1.0 else 2)
