"""Networks for others: k-diffusion's configuration of an hourglass, so that its own loader takes our weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.models.released import k_diffusion
from hdit_repro.spec import model as spec
from hdit_repro.spec.diffusion import Edm
from hdit_repro.spec.run import Run


def k_diffusion_config(run: Run) -> dict[str, Any]:
    """The configuration of image_transformer_v2 that describes a network, checked by reading it back.

    Args:
        run: of an hourglass that k-diffusion's code can express; `sigma_min` and `sigma_max` are those it samples with.

    Raises:
        UserError: k-diffusion has no such network; the message names the fields in which it would differ.
    """
    model, diffusion = run.model, run.diffusion
    if not isinstance(model, spec.Hourglass) or not isinstance(diffusion, Edm):
        raise UserError(
            "k-diffusion has no such network", found=f"kind {type(model).__name__}", expected="an hourglass",
            fix="--to safetensors takes every network",
        )  # fmt: skip
    lowest, highest = run.sampled_sigmas
    config = {
        "model": {
            "type": "image_transformer_v2",
            "input_channels": model.channels,
            "input_size": [model.resolution, model.resolution],
            "patch_size": [model.patch_height, model.patch_width],
            "depths": list(model.depths),
            "widths": list(model.widths),
            "d_ffs": [level.d_ff for level in model.levels],
            "self_attns": [_attention(level) for level in model.levels],
            "dropout_rate": [level.dropout for level in model.levels],
            "mapping_width": model.mapping.width,
            "mapping_depth": model.mapping.depth,
            "mapping_d_ff": model.mapping.d_ff,
            "mapping_cond_dim": model.mapping_cond,
            "mapping_dropout_rate": model.mapping.dropout,
            "sigma_data": diffusion.sigma_data,
            "sigma_min": lowest,
            "sigma_max": highest,
        },
        "dataset": {"type": "imagefolder", "location": "", "num_classes": model.classes},
    }
    _refuse_what_is_lost(model, config)
    return config


def _attention(level: spec.Level) -> dict[str, Any]:
    match level.attention:
        case spec.NeighborhoodAttention(kernel=kernel):
            return {"type": "neighborhood", "d_head": level.head_width, "kernel_size": kernel}
        case spec.ShiftedWindowAttention(window=window):
            return {"type": "shifted-window", "d_head": level.head_width, "window_size": window}
        case spec.NoAttention():
            return {"type": "none"}
        case _:
            return {"type": "global", "d_head": level.head_width}


def _refuse_what_is_lost(model: spec.Hourglass, config: dict[str, Any]) -> None:
    """Hold the network that k-diffusion would build against ours, field by field."""
    other = k_diffusion(config, Path("config.json"))
    ours, theirs = msgspec.to_builtins(_explicit(model)), msgspec.to_builtins(_explicit(other))
    lost = [f"{name} = {ours[name]}, there {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if lost:
        raise UserError(
            "k-diffusion's code has no such network",
            found="; ".join(lost),
            expected="a network of image_transformer_v2 (row E, Table 5 and what differs from them in sizes)",
            fix="--to safetensors takes every network",
        )


def _explicit(model: spec.Hourglass) -> spec.Hourglass:
    """With the per-level defaults written out; heads of a level without attention mean nothing."""
    levels = model.levels
    heads = tuple(1 if isinstance(level.attention, spec.NoAttention) else level.heads for level in levels)
    return msgspec.structs.replace(
        model,
        heads=heads,
        d_ffs=tuple(level.d_ff for level in levels),
        dropout=tuple(float(level.dropout) for level in levels),
        feed_forward=spec.GEGLU() if isinstance(model.feed_forward, spec.GEGLU) else model.feed_forward,
    )
