"""The best constant predictor: what a network that ignores its input could reach at most.

A trained network must end below it, or it has learned nothing from its input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from hdit_repro.diffusion import loss_weight, scalings
from hdit_repro.spec.run import Run
from hdit_repro.training.objective import Draws, EdmObjective, Objective, make_objective

VARIANCES = 9
"""How many constant variance outputs, from -1 to 1, are tried for a network that learns its variance."""


class Constant(nn.Module):
    """A network whose output is one image, whatever it is given: `image` is C H W."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor, level: Tensor, **cond: Tensor | None) -> Tensor:
        return self.image.to(x).expand(x.shape[0], *self.image.shape)


@torch.no_grad()
def best_constant_loss(run: Run, batches: Iterable[Draws]) -> float:
    """Mean loss of the best constant network output over some draws.

    Args:
        run: the run.
        batches: gone through twice, and not kept: on a card they and their noise would take all of its memory.

    EDM: the weighted loss is quadratic in the constant, so that the best one is the weighted mean of the targets; it
    is fitted to every pixel and channel apart. Gaussian: epsilon has mean zero, so its best constant is zero, and the
    best of nine constant variances is taken.
    """
    objective = make_objective(run)
    channels, side = run.model.channels, run.data.resolution
    if isinstance(objective, EdmObjective):
        (loss,) = _means(objective, [Constant(_best_image(objective, (channels, side, side), batches))], batches)
        return loss
    networks = []
    for variance in torch.linspace(-1, 1, VARIANCES):
        image = torch.zeros(2 * channels, side, side)
        image[channels:] = variance
        networks.append(Constant(image))
    return min(_means(objective, networks, batches))


def _means(objective: Objective, networks: Sequence[nn.Module], batches: Iterable[Draws]) -> list[float]:
    """Each network's mean per-sample loss over all draws, float64."""
    losses = [[objective(network, draws).double() for network in networks] for draws in batches]
    return [float(torch.cat(parts).mean()) for parts in zip(*losses, strict=True)]


def _best_image(objective: EdmObjective, shape: tuple[int, int, int], batches: Iterable[Draws]) -> Tensor:
    """The image c that minimises sum w (c - target)^2, C H W; target = (x0 - c_skip x) / c_out (Equation 4)."""
    edm = objective.edm
    top = torch.zeros(shape, dtype=torch.float64)
    bottom = 0.0
    for draws in batches:
        sigma = objective.sigma(draws).double()
        level = sigma.view(-1, 1, 1, 1)
        c = scalings(level, edm.sigma_data)
        x0 = draws.images.double()
        target = (x0 - c.skip * (x0 + draws.noise.double() * level)) / c.out
        weight = loss_weight(edm.weighting, sigma, edm.sigma_data)
        top += (weight.view(-1, 1, 1, 1) * target).sum(0).cpu()
        bottom += float(weight.sum())
    return top / bottom
