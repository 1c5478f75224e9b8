"""What is learned: EDM's preconditioned denoiser, or DiT's discrete Gaussian diffusion. Plain values, no torch."""

from __future__ import annotations

import msgspec

from hdit_repro.spec.base import Choice, require

# Loss weights (Equations 5, 7-9), all as weights on the squared error of the network output F.


class Snr(Choice, tag="snr"):
    """w_x0 = 1 / sigma^2 (Equation 7)."""


class MinSnr(Choice, tag="min_snr"):
    """w_x0 = min(1 / sigma^2, gamma) (Equation 8)."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma > 0, f"gamma caps a weight and must be positive, and {self.gamma} is not")


class SoftMinSnr(Choice, tag="soft_min_snr"):
    """w_x0 = 1 / (sigma^2 + 1 / gamma) (Equation 9)."""

    gamma: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma > 0, f"gamma caps a weight and must be positive, and {self.gamma} is not")


class EdmWeight(Choice, tag="edm"):
    """w_x0 = 1 / c_out^2: every noise level counts the same in F's error (Karras et al., 2022)."""


Weighting = Snr | MinSnr | SoftMinSnr | EdmWeight


class CosineInterpolated(Choice, tag="cosine-interpolated"):
    """The shifted cosine schedule of Hoogeboom et al. (2023), interpolated between two noise resolutions.

    `noise_d_high` of None is the image size.
    """

    noise_d_low: float = 32
    noise_d_high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("noise_d_low", "noise_d_high"):
            side = getattr(self, name)
            require(side is None or side > 0, f"{name} is a side in pixels, and {side} is not")


Density = CosineInterpolated


class Edm(Choice, tag="edm"):
    """Continuous-time diffusion with EDM's preconditioner (Section 5.1)."""

    weighting: Weighting
    density: Density = msgspec.field(default_factory=CosineInterpolated)
    sigma_data: float = 0.5
    sigma_min: float = 1e-3
    sigma_max: float = 1e3
    stratified: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.sigma_min < self.sigma_max and self.sigma_data > 0,
            f"0 < sigma_min < sigma_max and sigma_data > 0 must hold, and {self.sigma_min}, {self.sigma_max}, "
            f"{self.sigma_data} do not",
        )


LINEAR_BETAS = (1e-4, 0.02, 1000)
"""First and last beta of DiT's chain, and its steps (Ho et al., 2020)."""


class Gaussian(Choice, tag="gaussian"):
    """DiT's discrete diffusion: linear betas, epsilon prediction, learned-range variance, MSE + VB loss.

    `data_scale` multiplies images of [-1, 1] before they are noised, and divides samples.
    """

    timesteps: int = 1000
    data_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.timesteps >= 21, f"linear betas reach 1 below 21 timesteps, and {self.timesteps} are asked for")
        require(self.data_scale > 0, f"data_scale must be positive, and {self.data_scale} is not")


Diffusion = Edm | Gaussian
