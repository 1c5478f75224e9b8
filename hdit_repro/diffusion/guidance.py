"""Classifier-free guidance (Ho & Salimans, 2022), with the weight as Saharia et al. (2022) count it (Appendix D)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hdit_repro.diffusion.precondition import Network
from hdit_repro.errors import UserError


def guide(
    network: Network,
    weight: float,
    class_cond: Tensor | None,
    dropped: int,
    channels: int | None = None,
    **cond: Tensor | None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """D_u + w (D_c - D_u), both from one batch of twice the size; w = 1 calls once, on the batch itself.

    Works on whatever the network predicts: a denoised image, or R1's epsilon and variance. DiT guides the first three
    channels of its output and takes the others from the conditional half. In pixel RGB those three are all of epsilon
    and the others are the variance, so R1 passes channels=3.

    Args:
        network: called as (x, sigma or t, class_cond=..., **cond).
        weight: w; 1 is no guidance, 0 the unconditional prediction.
        class_cond: (B), integer; None for a network without classes.
        dropped: the index of the dropped class (the number of classes).
        channels: how many leading channels of the output are guided; None for all.
        cond: other conditions, (B ...) each, the same for both halves.

    Returns:
        A function of (x: B C H W, sigma or t: B).

    Raises:
        UserError: w is not 1 and there is no class to drop.
    """
    if weight == 1:
        return lambda x, at: network(x, at, class_cond=class_cond, **cond)
    if class_cond is None:
        raise UserError(
            "guidance needs a network with classes",
            found=f"guidance {weight} and no class condition",
            expected="class_cond, or guidance 1",
            fix="pass class_cond, or guidance 1 for a network without classes",
        )
    both = {name: value if value is None else torch.cat([value, value]) for name, value in cond.items()}
    classes = torch.cat([class_cond, torch.full_like(class_cond, dropped)])

    def guided(x: Tensor, at: Tensor) -> Tensor:
        output = network(torch.cat([x, x]), torch.cat([at, at]), class_cond=classes, **both)
        conditional, unconditional = output.chunk(2)
        guided_channels = output.shape[1] if channels is None else channels
        with_class, without = conditional[:, :guided_channels], unconditional[:, :guided_channels]
        combined = without + weight * (with_class - without)
        return torch.cat([combined, conditional[:, guided_channels:]], dim=1)

    return guided
