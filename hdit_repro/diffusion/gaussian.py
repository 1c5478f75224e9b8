"""R1's diffusion: DiT's discrete Gaussian one, with linear betas, epsilon prediction and a learned variance.

    q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t)

The network's output is 2C channels: epsilon, then v in about [-1, 1], which places the log variance of a step between
that of the posterior and log beta_t (Nichol & Dhariwal, 2021, Equation 15).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hdit_repro.diffusion.batch import per_sample
from hdit_repro.diffusion.likelihood import discretized_nll, gaussian_kl
from hdit_repro.diffusion.precondition import Network, working_dtype
from hdit_repro.diffusion.respacing import linear_betas, respace, spaced_timesteps
from hdit_repro.errors import UserError
from hdit_repro.inputs import check_level, check_noise, check_pixels, extremes


class GaussianLosses(NamedTuple):
    """Per sample (B): mean squared error of epsilon, variational bound in bits per value, and their sum."""

    mse: Tensor
    vb: Tensor
    total: Tensor


class Prediction(NamedTuple):
    """What one call of the network says of the step to x_{t-1}; B C H W each."""

    mean: Tensor
    log_variance: Tensor


class GaussianDiffusion:
    """The chain, its losses and its ancestral step.

    Args:
        timesteps: of the chain that the network is trained on; the network is always given numbers of that chain.
        steps: None for the whole chain, else the length of the respaced one (R1 samples 250 of 1000).
        data_scale: images of [-1, 1] are multiplied by it before they are noised, and samples divided.

    Tables are float64; losses are computed in the image's dtype, at least float32, and steps in x's own.

    Raises:
        UserError: there is no such chain (see respacing).
    """

    def __init__(self, timesteps: int = 1000, steps: int | None = None, data_scale: float = 1.0) -> None:
        self.timesteps = timesteps
        self.steps = timesteps if steps is None else steps
        self.data_scale = data_scale
        kept = spaced_timesteps(timesteps, self.steps)
        tables = _tables(respace(linear_betas(timesteps), kept))
        self._tables = {torch.device("cpu"): {"timestep": torch.tensor(kept), **tables}}

    def training_losses(
        self, network: Network, image: Tensor, noise: Tensor, t: Tensor, **cond: Tensor | None
    ) -> GaussianLosses:
        """MSE + VB; the variational bound teaches the variance only, its epsilon is detached (L_hybrid with weight 1).

        Args:
            network: called as (x_t, timestep: B, **cond) -> B 2C H W.
            image: B C H W, in [-1, 1].
            noise: B C H W, unit.
            t: (B), integer, places in this chain.

        Raises:
            UserError: images are whole numbers, noise is of another shape, or t is not one integer a sample, or
                beyond the chain (looked at where that is free).
        """
        check_pixels(image)
        check_noise(image, noise)
        check_level(t, len(image), "t")
        self._check_places(t)
        image = self.data_scale * image.to(working_dtype(image))
        noise = noise.to(image.dtype)
        noised = self._at("sqrt_product", t, image) * image + self._at("sqrt_rest", t, image) * noise
        epsilon, variance = self._call(network, noised, t, cond)
        mse = (noise - epsilon).square().flatten(1).mean(1)
        vb = self._bound(image, noised, t, self._predict(noised, t, epsilon.detach(), variance))
        return GaussianLosses(mse, vb, mse + vb)

    def step(self, network: Network, x: Tensor, t: int, noise: Tensor | None, **cond: Tensor | None) -> Tensor:
        """x_{t-1} from x_t, by the network's mean and variance. At t = 0 it is the mean.

        Args:
            network: as in training, or `guide(..., channels=3)` of it.
            x: B C H W, on the scale of the noised data.
            t: place in this chain, steps - 1 down to 0.
            noise: B C H W, unit; not looked at when t is 0, where it may be None.

        Raises:
            UserError: t is beyond the chain.
        """
        self._check_between(t, t)
        at = torch.full((x.shape[0],), t, device=x.device)
        guess = self._predict(x, at, *self._call(network, x, at, cond))
        if t == 0:
            return guess.mean
        assert noise is not None, f"step {t} needs noise"
        return guess.mean + torch.exp(0.5 * guess.log_variance) * noise

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        x: Tensor,
        noise: Callable[[int], Tensor],
        **cond: Tensor | None,
    ) -> Tensor:
        """The whole chain, from unit noise to images on the scale of the data (about [-1, 1], not clamped).

        Args:
            x: B C H W, unit noise.
            noise: from the number of a step to unit noise like x; step i goes from t = steps - 1 - i, and the last
                step asks for none.
        """
        for step in range(self.steps):
            t = self.steps - 1 - step
            x = self.step(network, x, t, noise(step) if t else None, **cond)
        return x / self.data_scale

    def _check_places(self, t: Tensor) -> None:
        """Refuse places that are no integers (bytes would be a mask) and, where looking is free, that are not there."""
        if t.dtype not in (torch.int64, torch.int32):
            raise UserError("places in a chain are integers", found=t.dtype, expected="int64 or int32", fix="t.long()")
        found = extremes(t)
        if found is not None:
            self._check_between(*found)

    def _check_between(self, low: float, high: float) -> None:
        """Refuse places before the chain's first, which Python would count from its end, and beyond its last."""
        if low < 0 or high >= self.steps:
            raise UserError(
                "t lies beyond the chain",
                found=f"t = {low}" if low == high else f"t from {low} to {high}",
                expected=f"0 to {self.steps - 1}",
                fix="t counts this chain's own steps; GaussianDiffusion(timesteps, steps) makes one of another length",
            )

    def _call(self, network: Network, x: Tensor, t: Tensor, cond: dict[str, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Epsilon and v. The network is given the number that step t has in the whole chain."""
        output = network(x, self._on(t.device)["timestep"][t], **cond)
        channels = x.shape[1]
        assert output.shape[1] == 2 * channels, f"{output.shape[1]} channels, and not {2 * channels}: learn_sigma?"
        output = output.to(x.dtype)
        return output[:, :channels], output[:, channels:]

    def _predict(self, x: Tensor, t: Tensor, epsilon: Tensor, variance: Tensor) -> Prediction:
        """From epsilon and v to the mean and log variance of p(x_{t-1} | x_t)."""
        image = self._at("image_of_x", t, x) * x - self._at("image_of_epsilon", t, x) * epsilon
        share = (variance + 1) / 2
        log_variance = share * self._at("log_beta", t, x) + (1 - share) * self._at("log_posterior_variance", t, x)
        return Prediction(self._posterior_mean(image, x, t), log_variance)

    def _posterior_mean(self, image: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The mean of q(x_{t-1} | x_t, x_0) (Ho et al., 2020, Equation 7)."""
        return self._at("mean_of_image", t, x) * image + self._at("mean_of_x", t, x) * x

    def _bound(self, image: Tensor, noised: Tensor, t: Tensor, guess: Prediction) -> Tensor:
        """The bound's term at t, bits per value (B): at t = 0 the likelihood of the 8-bit image, else the KL."""
        true_log_variance = self._at("log_posterior_variance", t, noised)
        kl = gaussian_kl(self._posterior_mean(image, noised, t), true_log_variance, guess.mean, guess.log_variance)
        # The bins belong to images of [-1, 1], so the normal is brought to that scale.
        scale = self.data_scale
        log_scale = 0.5 * guess.log_variance - math.log(scale)
        nll = discretized_nll(image / scale, guess.mean / scale, log_scale)
        bits = torch.where(per_sample(t, noised) == 0, nll, kl) / math.log(2)
        return bits.flatten(1).mean(1)

    def _at(self, table: str, t: Tensor, like: Tensor) -> Tensor:
        """The table's values at steps t, (B 1 1 1), rounded to the dtype of `like`."""
        return per_sample(self._on(t.device)[table][t], like)

    def _on(self, device: torch.device) -> dict[str, Tensor]:
        """The tables on a device; they go there once."""
        if device not in self._tables:
            here = self._tables[torch.device("cpu")]
            self._tables[device] = {name: values.to(device) for name, values in here.items()}
        return self._tables[device]


def _tables(betas: Tensor) -> dict[str, Tensor]:
    """Coefficients of the chain, (steps) each, float64."""
    alphas = 1 - betas
    product = alphas.cumprod(0)
    before = torch.cat([product.new_ones(1), product[:-1]])
    rest = 1 - product
    posterior = betas * (1 - before) / rest
    # The first step's posterior has no variance; DiT gives it the second's.
    posterior = torch.cat([posterior[1:2], posterior[1:]])
    return {
        "sqrt_product": product.sqrt(),
        "sqrt_rest": rest.sqrt(),
        "image_of_x": product.rsqrt(),
        "image_of_epsilon": (1 / product - 1).sqrt(),
        "log_beta": betas.log(),
        "log_posterior_variance": posterior.log(),
        "mean_of_image": betas * before.sqrt() / rest,
        "mean_of_x": (1 - before) * alphas.sqrt() / rest,
    }
