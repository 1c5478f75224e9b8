"""The exponential moving average of the weights, which all samples are drawn from (Section 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdit_repro.spec.training import Ema


def written(decay: float) -> str:
    """A decay as the names of tensors in files have it (`ema@0.9999`): read back, it is the same number."""
    short = f"{decay:g}"
    return short if float(short) == decay else repr(decay)


class EmaWeights:
    """A float32 shadow of a network's trainable parameters, in their order.

    The decay of step i is `spec.decay_at(i)`: ema = decay * ema + (1 - decay) * weight.
    """

    def __init__(self, network: nn.Module, spec: Ema) -> None:
        self.spec = spec
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in network.named_parameters()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (0 is the first)."""
        decay = self.spec.decay_at(step)
        live = [parameter.detach() for _, parameter in network.named_parameters()]
        torch._foreach_lerp_(list(self.weights.values()), live, 1 - decay)
