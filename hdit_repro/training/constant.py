"""The best constant predictor: what a network that ignores its input could reach at most.

A trained network must end below it, or it has learned nothing from its input.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hdit_repro.spec.diffusion import Edm
from hdit_repro.spec.run import Run
from hdit_repro.training.objective import Draws, EdmObjective, Objective, make_objective

VARIANCE_STEPS = 9
"""How many constant variance outputs, from -1 to 1, are tried for a network that learns its variance."""


class Constant(nn.Module):
    """A network whose output is one image, whatever it is given: `image` is C H W."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor, level: Tensor, **cond: Tensor | None) -> Tensor:
        return self.image.to(x).expand(x.shape[0], *self.image.shape)


def best_constant_loss(run: Run, batches: Iterable[Draws]) -> float:
    """Mean loss of the best constant network output over some draws.

    EDM: the weighted loss is quadratic in a constant c, so that its value at c = 0 and c = 1 for each pixel gives the
    best c; it is fitted to every pixel and channel apart. Gaussian: epsilon has mean zero, so its best constant is
    zero, and the best of nine constant variances is taken.
    """
    kept = list(batches)
    objective = make_objective(run)
    if isinstance(objective, EdmObjective):
        return _mean(objective, Constant(_best_image(objective.edm, objective, kept)), kept)
    channels = run.model.channels
    shape = kept[0].images.shape[1:]
    losses = []
    for variance in torch.linspace(-1, 1, VARIANCE_STEPS):
        image = torch.zeros(2 * channels, *shape[1:])
        image[channels:] = variance
        losses.append(_mean(objective, Constant(image), kept))
    return min(losses)


@torch.no_grad()
def _mean(objective: Objective, network: nn.Module, batches: list[Draws]) -> float:
    """Mean per-sample loss over all draws, float64."""
    return float(torch.cat([objective(network, draws).double() for draws in batches]).mean())


@torch.no_grad()
def _best_image(edm: Edm, objective: EdmObjective, batches: list[Draws]) -> Tensor:
    """The image c that minimises sum w (c - target)^2: the weighted mean of the targets, C H W.

    Target and weight follow from Equations 4 and 5: F* = (x0 - c_skip x) / c_out.
    """
    from hdit_repro.diffusion.precondition import scalings
    from hdit_repro.diffusion.weighting import weight
    from hdit_repro.training.draws import noise_levels

    top = torch.zeros(batches[0].images.shape[1:], dtype=torch.float64)
    bottom = 0.0
    for draws in batches:
        sigma = noise_levels(edm, objective.image_size, draws.u).to(draws.images.device)
        c_skip, c_out, _ = (c.view(-1, 1, 1, 1) for c in scalings(sigma, edm.sigma_data))
        x0 = draws.images.double()
        noised = x0 + draws.noise.double() * sigma.view(-1, 1, 1, 1)
        target = (x0 - c_skip * noised) / c_out
        w = weight(edm.weighting, sigma, edm.sigma_data).view(-1, 1, 1, 1)
        top += (w * target).sum(0).cpu()
        bottom += float(w.sum())
    return top / bottom
