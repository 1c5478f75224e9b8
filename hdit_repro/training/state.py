"""Everything that must survive a restart, listed once: weights, averages, optimiser moments, the watchdog, the step.

What is not here is derived: the order of images, noise, noise levels, dropped labels, augmentation and dropout masks
follow from the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hdit_repro.errors import UserError
from hdit_repro.spec.training import Ema
from hdit_repro.training.ema import EmaWeights, written
from hdit_repro.training.watchdog import Watchdog

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class TrainingState:
    """A run between two steps; `step` steps are behind it, those that the watchdog skipped included.

    `averages` are further averages of the weights beside `ema`, by their decay; they change nothing else.
    """

    network: nn.Module
    ema: EmaWeights
    optimizer: torch.optim.Optimizer
    step: int = 0
    averages: dict[float, EmaWeights] = field(default_factory=dict)
    watchdog: Watchdog = field(default_factory=Watchdog)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a safetensors file: `network.*` (buffers too), `ema.*`, `ema@DECAY.*`,
        `optimizer.*`, `watchdog`."""
        named = self._weights()
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for moment in MOMENTS:
                named[f"optimizer.{names[id(parameter)]}.{moment}"] = moments[moment]
        named["watchdog"] = self.watchdog.tensor()
        return {name: value.detach().contiguous() for name, value in named.items()}

    def averaged(self) -> dict[str, Tensor]:
        """What samples are drawn from: the averages, and the network's buffers."""
        buffers = {f"network.{name}": value for name, value in self.network.named_buffers()}
        return {**buffers, **{name: value for name, value in self._weights().items() if name.startswith("ema")}}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take everything back from `tensors()` of the same run, with its further averages: none of them is dropped,
        and no other can be begun by now.

        Raises:
            UserError: a tensor is missing, left over, or has another shape (a checkpoint of another configuration).
        """
        self.averages = self._averages_in(tensors)
        rest = ("optimizer.", "watchdog")
        load_exactly(self._weights(), {name: v for name, v in tensors.items() if not name.startswith(rest)})
        if "watchdog" in tensors:
            self.watchdog.restore(tensors["watchdog"])
        taken = step > self.watchdog.skipped
        state: dict[Tensor, dict[str, Any]] = {}
        for name, parameter in dict(self.network.named_parameters()).items():
            keys = {moment: f"optimizer.{name}.{moment}" for moment in MOMENTS}
            if taken and not all(key in tensors for key in keys.values()):
                raise UserError(
                    "a checkpoint lacks the optimiser's state",
                    found=f"nothing for {name}",
                    expected="an entry for every parameter",
                    fix="delete that checkpoint: the run goes on from the one before",
                )
            if taken:
                state[parameter] = {
                    moment: tensors[key].to(parameter.device, copy=True) for moment, key in keys.items()
                }
        self.optimizer.state.clear()
        self.optimizer.state.update(state)
        self.step = step

    def _weights(self) -> dict[str, Tensor]:
        named = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        named |= {f"ema.{name}": value for name, value in self.ema.weights.items()}
        for decay, average in self.averages.items():
            named |= {f"ema@{written(decay)}.{name}": value for name, value in average.weights.items()}
        return named

    def _averages_in(self, tensors: dict[str, Tensor]) -> dict[float, EmaWeights]:
        """The averages that a checkpoint holds, with the weights of now; those that are here already stay."""
        first = next(iter(self.ema.weights), "")
        names = {
            name[4 : -len(first) - 1] for name in tensors if name.startswith("ema@") and name.endswith(f".{first}")
        }
        here = {written(decay): decay for decay in self.averages}
        decays = sorted(here.get(name, float(name)) for name in names)
        power = self.ema.spec.warmup_power
        return {
            decay: self.averages.get(decay) or EmaWeights(self.network, Ema(decay=decay, warmup_power=power))
            for decay in decays
        }


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
