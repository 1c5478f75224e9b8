"""Everything that must survive a restart, listed once: weights, EMA, optimiser moments, the step.

What is not here is derived: the order of images, noise, noise levels and dropped labels follow from the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.training.ema import EmaWeights

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class TrainingState:
    """A run between two steps; `step` optimiser steps are done."""

    network: nn.Module
    ema: EmaWeights
    optimizer: torch.optim.Optimizer
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a safetensors file: `network.*` (buffers too), `ema.*`, `optimizer.*`."""
        named = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        named |= {f"ema.{name}": value for name, value in self.ema.weights.items()}
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for moment in MOMENTS:
                named[f"optimizer.{names[id(parameter)]}.{moment}"] = moments[moment]
        return {name: value.detach().contiguous() for name, value in named.items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take everything back from `tensors()` of the same run.

        Raises:
            UserError: a tensor is missing, left over, or has another shape (a checkpoint of another configuration).
        """
        expected = {**{f"network.{n}": v for n, v in self.network.state_dict().items()}}
        expected |= {f"ema.{name}": value for name, value in self.ema.weights.items()}
        load_exactly(expected, {name: v for name, v in tensors.items() if not name.startswith("optimizer.")})
        parameters = dict(self.network.named_parameters())
        state: dict[Tensor, dict[str, Any]] = {}
        for name, parameter in parameters.items():
            keys = {moment: f"optimizer.{name}.{moment}" for moment in MOMENTS}
            if step and not all(key in tensors for key in keys.values()):
                raise UserError("a checkpoint lacks the optimiser's state", found=f"nothing for {name}")
            if step:
                state[parameter] = {
                    moment: tensors[key].to(parameter.device if moment != "step" else "cpu").clone()
                    for moment, key in keys.items()
                }
        self.optimizer.state.clear()
        self.optimizer.state.update(state)
        self.step = step


@torch.no_grad()
def load_exactly(target: dict[str, Tensor], source: dict[str, Tensor]) -> None:
    """Copy tensors over by name.

    Raises:
        UserError: names or shapes differ; nothing was copied then.
    """
    problems = [f"{name} is missing" for name in target.keys() - source.keys()]
    problems += [f"{name} is not of this network" for name in source.keys() - target.keys()]
    problems += [
        f"{name} is {tuple(source[name].shape)}, expected {tuple(target[name].shape)}"
        for name in target.keys() & source.keys()
        if target[name].shape != source[name].shape
    ]
    if problems:
        raise UserError(
            "a checkpoint is of another configuration",
            found="; ".join(sorted(problems)[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else ""),
            expected="the same tensors, of the same shapes",
            fix="use the checkpoint of this run, or delete it and train again",
        )
    for name, value in target.items():
        value.copy_(source[name])
