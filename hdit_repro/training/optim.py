"""The optimiser of a run."""

from __future__ import annotations

import torch
from torch import nn

from hdit_repro.models.groups import parameter_groups
from hdit_repro.spec.training import AdamW


def make_optimizer(network: nn.Module, spec: AdamW) -> torch.optim.AdamW:
    """AdamW over the network's parameter groups (Table 6; the released code's groups, or one group).

    One kernel a group reads weights, gradients and moments once, on a CPU and on a GPU.
    """
    return torch.optim.AdamW(
        parameter_groups(network, spec),
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=spec.eps,
        weight_decay=spec.weight_decay,
        fused=True,
    )
