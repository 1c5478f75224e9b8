"""From a spec to a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hdit_repro.errors import pick
from hdit_repro.models.dit import DiT
from hdit_repro.models.hourglass import Hourglass
from hdit_repro.models.init import initialise
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kind_of

NETWORKS: dict[str, Callable[..., nn.Module]] = {"hourglass": Hourglass, "dit": DiT}


def build(model_spec: spec.Model, seed: int = 0) -> nn.Module:
    """The network of a spec, in training mode, on torch's default device (under `torch.device("meta")`: no storage).

    The same spec and seed give the same bits on every machine; no global random state is read or changed.

    Args:
        model_spec: a hourglass or a DiT.
        seed: the run's seed.

    Returns:
        F(x, sigma or t, class_cond=None, aug_cond=None, mapping_cond=None).
    """
    device = torch.get_default_device()
    network = outline(model_spec)
    if device.type == "meta":
        return network
    network.to_empty(device="cpu")
    initialise(network, seed)
    return network.to(device)


def outline(model_spec: spec.Model) -> nn.Module:
    """The network's modules and shapes on the meta device: no storage, no values."""
    with torch.device("meta"):
        return pick(NETWORKS, kind_of(model_spec), kind="network", where="a run's model")(model_spec)
