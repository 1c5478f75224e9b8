"""Which parameters learn at which rate, and which decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from hdit_repro.models.layers import Linear
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.training import AdamW, KDiffusionGroups, UniformGroups


def parameter_groups(network: nn.Module, optimizer_spec: AdamW) -> list[dict[str, Any]]:
    """Groups for torch's AdamW: each with `name`, `params`, `lr` and `weight_decay`. No group is empty.

    Every parameter is in exactly one group. The groups' own rate and decay are in them; betas and eps are the
    optimiser's.

    Args:
        network: of `build`, `load_k_diffusion` or `load_dit`; not wrapped or compiled.
        optimizer_spec: rate, decay and the kind of groups.
    """
    return GROUPS[kind_of(optimizer_spec.groups)](network, optimizer_spec, optimizer_spec.groups)


def uniform(network: nn.Module, optimizer: AdamW, groups: UniformGroups) -> list[dict[str, Any]]:
    """One group: every parameter learns and decays alike (DiT, 2023)."""
    return [_group("all", list(network.parameters()), optimizer.learning_rate, optimizer.weight_decay)]


def k_diffusion(network: nn.Module, optimizer: AdamW, groups: KDiffusionGroups) -> list[dict[str, Any]]:
    """The released code's four, in its order: decaying, not decaying, then both at `mapping_rate` of the rate.

    Linear weights decay, but for the projections of time, augmentation and further conditions; labels, norm scales,
    cosine scales, lerp factors, learned positions and biases do not. Slow are the mapping network and the layers that
    it drives (norms, gates; in a DiT the time MLP and adaLN's layers), but not the projections into it.
    """
    table: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (False, True): [],
        (False, False): [],
        (True, True): [],
        (True, False): [],
    }
    for parameter, slow, decays in marked(network):
        table[slow, decays].append(parameter)
    rate, decay = optimizer.learning_rate, optimizer.weight_decay
    return [
        _group(
            ("mapping" if slow else "main") + ("" if decays else ", no decay"),
            parameters,
            rate * groups.mapping_rate if slow else rate,
            decay if decays else 0.0,
        )
        for (slow, decays), parameters in table.items()
        if parameters
    ]


def marked(module: nn.Module, slow: bool = False) -> Iterator[tuple[nn.Parameter, bool, bool]]:
    """Every parameter with (slow, decays): a module marked `slow` makes all beneath it so; linear weights decay."""
    slow = slow or bool(getattr(module, "slow", False))
    linear = (isinstance(module, Linear) and module.decays) or isinstance(module, nn.Conv2d)
    for name, parameter in module.named_parameters(recurse=False):
        yield parameter, slow, linear and name == "weight"
    for child in module.children():
        yield from marked(child, slow)


def _group(name: str, parameters: list[nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    return {"name": name, "params": parameters, "lr": rate, "weight_decay": decay}


GROUPS: dict[str, Callable[..., list[dict[str, Any]]]] = {"uniform": uniform, "k-diffusion": k_diffusion}
