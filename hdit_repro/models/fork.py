"""Tensors of the third author's fork of k-diffusion, where they are not as the released code has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hdit_repro.models.positions import check_fixed
from hdit_repro.spec import model as spec

POSITIONS = "pos_emb"
SHARED = ".mod.1."
"""Under this name an AdaLN's linear layer is kept once more."""


def as_released(tensors: Mapping[str, Tensor], network: spec.Hourglass, path: Path) -> dict[str, Tensor]:
    """The tensors of an hourglass under the names of ours and of k-diffusion.

    AdaLN's linear layer gives shift, scale and, where there is one, the gate: ours gives scale and shift, and the gate
    has a layer of its own. Fixed positions are not kept here, and must be what they should be.

    Args:
        tensors: by the fork's names.
        network: the configuration that belongs to them.
        path: of their file, for errors.

    Raises:
        UserError: the positions are not the sines and cosines of DiT.
    """
    found = {name.replace(SHARED, ".linear."): tensor for name, tensor in tensors.items()}
    if isinstance(network.position, spec.SinCosPosition) and POSITIONS in found:
        check_fixed(found.pop(POSITIONS).squeeze(0), POSITIONS, path)
    if not isinstance(network.norm, spec.DiTLayerNorm):
        return found
    return {ours: part for name, tensor in found.items() for ours, part in _parts(name, tensor).items()}


def _parts(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of an AdaLN as ours, any other as it is."""
    if ".norm_scale.linear." in name and len(tensor) % 3 == 0:
        shift, scale, gate = tensor.chunk(3)
        return {
            name.replace(".norm_scale.", ".norm."): torch.cat((scale, shift)),
            name.replace(".norm_scale.", ".gate."): gate.clone(),
        }
    if ".norm.linear." in name and len(tensor) % 2 == 0:
        shift, scale = tensor.chunk(2)
        return {name: torch.cat((scale, shift))}
    return {name: tensor}
