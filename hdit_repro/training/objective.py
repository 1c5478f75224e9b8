"""What a step minimises: EDM's weighted denoising loss, or DiT's discrete diffusion loss. B C H W in, B out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hdit_repro.diffusion import GaussianDiffusion, edm_loss, noise_levels
from hdit_repro.spec.diffusion import Edm, Gaussian
from hdit_repro.spec.run import Run
from hdit_repro.training.draws import draw_keys, drop_labels, level_uniforms, noise_like
from hdit_repro.training.transfer import upload


class Draws(NamedTuple):
    """Some draws of one step, with everything random about them; `keys` (B, int64) are what dropout masks hang on.

    images: B C H W, float32 in [-1, 1], but for what augmentation overshoots. noise: the same shape, unit normal.
    uniform: B, float64 in [0, 1), behind the noise level. place: B, int64, each draw's place in the global batch of
    `batch`. labels: B, int64, dropped ones replaced, or None. augmentation: B 9, what was done to the images, or None
    where nothing is.
    """

    images: Tensor
    noise: Tensor
    uniform: Tensor
    place: Tensor
    batch: int
    labels: Tensor | None
    keys: Tensor
    augmentation: Tensor | None = None


def make_draws(
    run: Run,
    images: Tensor,
    labels: Tensor | None,
    draws: Sequence[int],
    first: int,
    batch: int,
    device: torch.device,
    condition: Tensor | None = None,
) -> Draws:
    """Prepare draws (numbers `draws`) of the step whose global batch of `batch` begins at draw `first`.

    Args:
        images: B C H W, uint8; or float32 on the same scale, once augmented.
        labels: B, int64, or None.
        condition: B 9, float32: how the images were augmented; None: not at all.
    """
    keys = draw_keys(run.seed, draws)
    there = upload(keys, device)
    # As bytes over the bus: with a dtype in the same call they would be widened before.
    pixels = upload(images, device).to(torch.float32) / 127.5 - 1
    kept = drop_labels(keys, labels, run.model.classes, run.training.class_dropout)
    place = torch.tensor(draws, dtype=torch.int64) - first
    return Draws(
        images=pixels,
        noise=noise_like(there, pixels),
        uniform=level_uniforms(keys),
        place=place,
        batch=batch,
        labels=None if kept is None else upload(kept, device),
        keys=there,
        augmentation=None if condition is None else upload(condition, device),
    )


class Objective(Protocol):
    """Per-sample loss of a network on some draws: B, float32."""

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor: ...


class EdmObjective:
    """Equation 1 with EDM's preconditioner and the run's weighting."""

    def __init__(self, edm: Edm, image_size: int) -> None:
        self.edm, self.image_size = edm, image_size

    def sigma(self, draws: Draws) -> Tensor:
        """The draws' noise levels: B, float32, on the images' device."""
        levels = noise_levels(self.edm, self.image_size, draws.uniform, draws.place, draws.batch)
        return upload(levels.to(draws.images.dtype), draws.images.device)

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor:
        cond = {"class_cond": draws.labels}
        if draws.augmentation is not None:
            cond["aug_cond"] = draws.augmentation
        return edm_loss(network, draws.images, draws.noise, self.sigma(draws), self.edm, **cond)


class GaussianObjective:
    """DiT's MSE + variational bound on uniformly drawn steps of 1,000 (R1)."""

    def __init__(self, gaussian: Gaussian) -> None:
        self.diffusion = GaussianDiffusion(gaussian.timesteps, data_scale=gaussian.data_scale)

    def __call__(self, network: nn.Module, draws: Draws) -> Tensor:
        t = upload((draws.uniform * self.diffusion.timesteps).long(), draws.images.device)
        losses = self.diffusion.training_losses(network, draws.images, draws.noise, t, class_cond=draws.labels)
        return losses.total


def make_objective(run: Run) -> Objective:
    """The run's objective."""
    if isinstance(run.diffusion, Edm):
        return EdmObjective(run.diffusion, run.data.resolution)
    return GaussianObjective(run.diffusion)
