"""Networks from released files: k-diffusion's hourglasses and facebookresearch/DiT's transformers; and names back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hdit_repro.errors import UserError, nearest
from hdit_repro.models.build import outline
from hdit_repro.models.dit import DiT
from hdit_repro.models.fork import as_released
from hdit_repro.models.positions import check_fixed
from hdit_repro.models.released import read_dit, read_k_diffusion
from hdit_repro.spec.model import DiT as DiTSpec
from hdit_repro.spec.model import Hourglass

# Ours on the left, k-diffusion's on the right; every other name is the same.
ENDINGS = ((".similarity.scale", ".scale"), (".join.fac", ".fac"), (".join.proj.weight", ".skip_proj.weight"))


def load_k_diffusion(config_json: str | Path, weights_safetensors: str | Path) -> nn.Module:
    """An hourglass of k-diffusion or of its fork (image_transformer_v2): float32, on the CPU, in evaluation mode.

    Args:
        config_json: k-diffusion's own configuration; `_facts` and `source` are read past, other unknown keys refused.
        weights_safetensors: its state dict, with k-diffusion's names; Fourier weights and RoPE frequencies included.

    Returns:
        F(x, sigma, class_cond=None, aug_cond=None, mapping_cond=None).

    Raises:
        UserError: a key is unknown, or a tensor is missing, left over or of another shape; the message names it.
    """
    spec, path = read_k_diffusion(Path(config_json)), Path(weights_safetensors)
    return fill_k_diffusion(spec, _read(path), path)


def fill_k_diffusion(spec: Hourglass, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The same network of its spec and tensors; `path` is where they lie, for errors.

    Raises:
        UserError: a tensor is missing, left over or of another shape; the message names it.
    """
    return _fill(outline(spec), as_released(tensors, spec, path), path, to_k_diffusion_name)


def load_dit(config_json: str | Path, weights_safetensors: str | Path) -> nn.Module:
    """A DiT of facebookresearch/DiT: float32, on the CPU, in evaluation mode.

    Args:
        config_json: the network's arguments under `model`, with the released code's names and defaults.
        weights_safetensors: its state dict. `pos_embed` is fixed and must be the sines and cosines that it should be.

    Returns:
        The network, called as (x, t, y); by name, y is `class_cond`, as in every network here.

    Raises:
        UserError: as `load_k_diffusion`; or `pos_embed` differs.
    """
    spec, path = read_dit(Path(config_json)), Path(weights_safetensors)
    return fill_dit(spec, _read(path), path)


def fill_dit(spec: DiTSpec, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The same network of its spec and tensors; `path` is where they lie, for errors.

    Raises:
        UserError: as `load_dit`, for a tensor.
    """
    network = _fill(outline(spec), tensors, path, str)
    assert isinstance(network, DiT)
    side = spec.resolution // spec.patch
    check_fixed(torch.unflatten(network.pos_embed[0], 0, (side, side)), "pos_embed", path)
    return network


def to_k_diffusion_name(name: str) -> str:
    """The released code's name of a parameter or buffer of ours."""
    for ours, theirs in ENDINGS:
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    return name


def to_k_diffusion(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of an `Hourglass` under k-diffusion's names, in its order."""
    return {to_k_diffusion_name(name): tensor for name, tensor in state.items()}


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, rename: Callable[[str], str]) -> nn.Module:
    """Put the tensors of a file into a network that has none, each checked by name, type and shape."""
    wanted = {rename(name): name for name in network.state_dict()}
    shapes = {rename(name): tensor.shape for name, tensor in network.state_dict().items()}
    for name in wanted:
        if name not in tensors:
            close = nearest(name, [each for each in tensors if each not in wanted])
            raise UserError(
                f"the weights lack the tensor {name!r}",
                found=f"{path}: no {name!r}" + (f", but {close!r}" if close else ""),
                expected=f"{name!r} of shape {tuple(shapes[name])}",
                fix=_unwrapped(tensors, (close or "").removesuffix(name))
                or "use the weights that belong to this configuration",
            )
    state = {}
    for name, tensor in tensors.items():
        if name not in wanted:
            raise UserError(
                f"the weights hold a tensor that this network has no place for: {name!r}",
                found=f"{path}: {name!r} of shape {tuple(tensor.shape)}",
                expected=f"{len(wanted)} tensors, none of that name",
                fix="use the configuration that belongs to these weights",
            )
        if tensor.shape != shapes[name] or not tensor.is_floating_point():
            raise UserError(
                f"the tensor {name!r} has another shape or type than this network's",
                found=f"{path}: {tuple(tensor.shape)}, {tensor.dtype}",
                expected=f"{tuple(shapes[name])}, floating point",
                fix="use the weights that belong to this configuration",
            )
        state[wanted[name]] = _finite(tensor, name, path)
    network.load_state_dict(state, assign=True)
    return network.eval()


def _unwrapped(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """How to take off what a wrapper put before every name: "module." of DistributedDataParallel, "_orig_mod." of
    torch.compile. Empty where `prefix` is no such thing."""
    if not prefix.endswith(".") or not all(name.startswith(prefix) for name in tensors):
        return ""
    return f"save {{name.removeprefix({prefix!r}): tensor for name, tensor in weights.items()}}, and take that"


def _finite(tensor: Tensor, name: str, path: Path) -> Tensor:
    """A tensor of a file in float32.

    Raises:
        UserError: a value is NaN, infinite or too large for it.
    """
    values = tensor.to(torch.float32)
    if astray := int(values.isfinite().logical_not().sum()):
        raise UserError(
            f"the tensor {name!r} holds what is no finite number in float32",
            found=f"{path}: {astray:,} of {values.numel():,} values",
            expected="finite numbers, without which no image can be drawn",
            fix="get or export the weights again; of a training that went astray take an earlier checkpoint",
        )
    return values


def _read(path: Path) -> dict[str, Tensor]:
    try:
        open(path, "rb").close()  # safetensors says of a file that may not be read that there is none
        return load_file(path, device="cpu")
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            "a file is missing", found=str(path), expected="a safetensors file", fix="check the path"
        ) from error
    except (SafetensorError, OSError) as error:
        raise UserError(
            "a file is damaged",
            found=f"{path}: {error}",
            expected="a whole safetensors file",
            fix="get or export it again",
        ) from error
