"""What a step minimises: EDM's weighted denoising loss, or DiT's discrete diffusion loss. B C H W in, B out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hdit_repro.diffusion.gaussian import GaussianDiffusion
from hdit_repro.diffusion.loss import edm_loss
from hdit_repro.diffusion.noise import uniforms
from hdit_repro.spec.diffusion import Edm, Gaussian
from hdit_repro.spec.run import Run
from hdit_repro.training.draws import Stream, drop_labels, draw_keys, noise_levels, noise_like, quantiles


class Draws(NamedTuple):
    """Some draws of one step, with everything random about them but dropout.

    images: B C H W, float32 in [-1, 1]; noise: the same shape, unit normal; u: B, float64 in [0, 1), the quantile of
    the noise level; labels: B, int64, dropped ones replaced, or None.
    """

    images: Tensor
    noise: Tensor
    u: Tensor
    labels: Tensor | None


def make_draws(
    run: Run, images: Tensor, labels: Tensor | None, draws: Sequence[int], first: int, batch: int, device: torch.device
) -> Draws:
    """Prepare draws (numbers `draws`) of the step whose global batch of `batch` begins at draw `first`.

    Args:
        images: B C H W, uint8.
        labels: B, int64, or None.
    """
    keys = draw_keys(run.seed, draws)
    pixels = images.to(device, torch.float32) / 127.5 - 1
    if isinstance(run.diffusion, Edm):
        u = quantiles(keys, [draw - first for draw in draws], batch, run.diffusion.stratified)
    else:
        u = uniforms(keys, Stream.LEVEL, (), torch.float64)
    kept = drop_labels(keys, labels, run.model.classes, run.training.class_dropout)
    return Draws(pixels, noise_like(keys, pixels), u, None if kept is None else kept.to(device))


class Objective(Protocol):
    """Per-sample loss of a network on some draws: B, float32."""

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor: ...


class EdmObjective:
    """Equation 1 with EDM's preconditioner and the run's weighting."""

    def __init__(self, edm: Edm, image_size: int) -> None:
        self.edm, self.image_size = edm, image_size

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor:
        sigma = noise_levels(self.edm, self.image_size, draws.u).to(draws.images)
        return edm_loss(network, draws.images, draws.noise, sigma, self.edm, class_cond=draws.labels)


class GaussianObjective:
    """DiT's MSE + variational bound on uniformly drawn steps of 1,000 (R1)."""

    def __init__(self, gaussian: Gaussian) -> None:
        self.scale = gaussian.data_scale
        self.diffusion = GaussianDiffusion(gaussian.timesteps)

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor:
        t = (draws.u * self.diffusion.timesteps).long().to(draws.images.device)
        losses = self.diffusion.training_losses(
            network, draws.images * self.scale, t, draws.noise, class_cond=draws.labels
        )
        return losses["loss"]


def make_objective(run: Run) -> Objective:
    """The run's objective."""
    if isinstance(run.diffusion, Edm):
        return EdmObjective(run.diffusion, run.data.resolution)
    return GaussianObjective(run.diffusion)
