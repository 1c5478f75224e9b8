"""The authors' released code from a checkout of k-diffusion, imported without what a benchmark does not need.

Only `layers`, `sampling`, `utils` and `models.image_transformer_v2` are read. The packages' own start (which asks for
CLIP, scikit-image and the like) is passed over, and packages that these files import and do not use here are empty.
natten and flash-attn, which their code can do without, are theirs if installed.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

from hdit_repro.metrics.torchvision_shim import import_torchvision

UNUSED = ("torchdiffeq", "torchsde", "dctorch")


def authors(checkout: Path, *, compiled: bool) -> Any:
    """Their modules, as attributes of one object.

    Args:
        checkout: a folder that holds `k_diffusion/`.
        compiled: whether their small kernels go through torch.compile, as they do by default.
    """
    if not (checkout / "k_diffusion" / "models" / "image_transformer_v2.py").is_file():
        sys.exit(f"{checkout} is no checkout of k-diffusion: git clone https://github.com/crowsonkb/k-diffusion")
    os.environ["K_DIFFUSION_USE_COMPILE"] = str(int(compiled))
    for name in [name for name in sys.modules if name.partition(".")[0] == "k_diffusion"]:
        del sys.modules[name]  # read anew, so that both ways may stand side by side
    import_torchvision()
    for name in UNUSED:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchdiffeq"].odeint = None  # type: ignore[attr-defined]
    sys.modules["dctorch"].functional = None  # type: ignore[attr-defined]
    for name in ("k_diffusion", "k_diffusion.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    names = ("models.flags", "models.flops", "utils", "sampling", "layers", "models.image_transformer_v2")
    found = {name.rpartition(".")[2]: importlib.import_module(f"k_diffusion.{name}") for name in names}
    found["flags"].get_use_compile = lambda: compiled  # their kernels ask when they are first called
    return types.SimpleNamespace(**found)


def network(code: Any, model: Any) -> Any:
    """Their network F(x, sigma, class_cond=...) of one of our specs (`spec.Hourglass`).

    Raises:
        ValueError: a level without attention, which their code does not have.
    """
    v2 = code.image_transformer_v2
    levels = []
    for level in model.levels:
        kind = type(level.attention).__name__
        if kind == "ShiftedWindowAttention":
            attention = v2.ShiftedWindowAttentionSpec(level.head_width, level.attention.window)
        elif kind == "GlobalAttention":
            attention = v2.GlobalAttentionSpec(level.head_width)
        elif kind == "NeighborhoodAttention":  # an old natten is needed to call it
            attention = v2.NeighborhoodAttentionSpec(level.head_width, level.attention.kernel)
        else:
            raise ValueError(f"their code has no {kind}")
        levels.append(v2.LevelSpec(level.depth, level.width, level.d_ff, attention, level.dropout))
    mapping = v2.MappingSpec(model.mapping.depth, model.mapping.width, model.mapping.d_ff, model.mapping.dropout)
    patch = (model.patch_height, model.patch_width)
    classes = model.classes + 1 if model.classes else 0
    return v2.ImageTransformerDenoiserModelV2(levels, mapping, model.channels, model.channels, patch, classes)
