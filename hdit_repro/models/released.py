"""Configuration files of released networks (k-diffusion's, DiT's), read into our spec. Unknown keys are refused.

The third author's fork of k-diffusion (github.com/Birch-san/k-diffusion, its-not-dit) has some keys more, and comments.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from hdit_repro.errors import UserError, nearest
from hdit_repro.files import read_json
from hdit_repro.spec import model as spec

S = TypeVar("S", bound=msgspec.Struct)
REMARKS = ("_facts", "source")
SKIPS: dict[str, spec.Skip] = {"learned_lerp": spec.LerpSkip(), "add": spec.AddSkip(), "concat": spec.ConcatSkip()}
NO_JSON = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|,(?=\s*(?://[^\n]*\s*)*[}\]])')
"""What the fork's .jsonc files have besides JSON: remarks to the end of a line, and a comma behind the last of a list.
Texts are matched first and stay."""


class KGlobal(msgspec.Struct, tag="global", forbid_unknown_fields=True):
    """Every token to every token."""

    d_head: int = 64


class KNeighborhood(msgspec.Struct, tag="neighborhood", forbid_unknown_fields=True):
    """A neighborhood of kernel_size x kernel_size tokens."""

    d_head: int = 64
    kernel_size: int = 7


class KShiftedWindow(msgspec.Struct, tag="shifted-window", forbid_unknown_fields=True):
    """Tiles of window_size x window_size tokens."""

    window_size: int
    d_head: int = 64


class KNone(msgspec.Struct, tag="none", forbid_unknown_fields=True):
    """No attention; a d_head that stands there has no meaning."""

    d_head: int = 64


KAttention = KGlobal | KNeighborhood | KShiftedWindow | KNone


class KModel(msgspec.Struct, forbid_unknown_fields=True):
    """The `model` section of k-diffusion and of its fork, with their defaults. What concerns loss and sampling is read
    past; biases that no experiment of the paper has must be off."""

    type: Literal["image_transformer_v2"]
    input_channels: int
    input_size: tuple[int, int]
    patch_size: tuple[int, int]
    depths: list[int]
    widths: list[int]
    d_ffs: list[int] | None = None
    self_attns: list[KAttention] | None = None
    dropout_rate: float | list[float] | None = None
    mapping_width: int = 256
    mapping_depth: int = 2
    mapping_d_ff: int | None = None
    mapping_cond_dim: int = 0
    mapping_dropout_rate: float = 0.0
    skip_stages: Literal[0] = 0
    has_variance: bool = False
    augment_wrapper: bool = False
    augment_prob: float = 0.0
    loss_config: str = "karras"
    loss_weighting: str = "karras"
    loss_scales: int = 1
    sigma_data: float = 1.0
    sigma_min: float | None = None
    sigma_max: float | None = None
    sigma_sample_density: dict[str, Any] = msgspec.field(default_factory=dict)
    loss_weighting_params: dict[str, Any] = msgspec.field(default_factory=dict)
    up_proj_act: Literal["GEGLU", "GELU"] = "GEGLU"
    pos_emb_type: Literal["ROPE", "additive"] = "ROPE"
    backbone_skip_type: Literal["learned_lerp", "add", "concat"] = "learned_lerp"
    norm_type: Literal["AdaRMS", "AdaLNGateless", "AdaLN"] = "AdaRMS"
    qkv_bias: Literal[False] = False
    o_bias: Literal[False] = False
    ffn_up_bias: Literal[False] = False
    ffn_down_bias: Literal[False] = False
    mapping_ffn_up_bias: Literal[False] = False
    mapping_ffn_down_bias: Literal[False] = False


class KDataset(msgspec.Struct, forbid_unknown_fields=True):
    """The `dataset` section; only the number of classes concerns the network."""

    num_classes: int = 0
    type: str = "imagefolder"
    location: str = ""
    cond_dropout_rate: float = 0.1
    image_key: str | int = 0
    class_key: str | int = 1
    wds_image_key: str = ""
    class_cond_key: str = ""
    classes_to_captions: str = ""
    estimated_samples: int = 0
    get_dataset: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict)


class KConfig(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration file of k-diffusion. The sections on training do not concern the network."""

    model: KModel
    dataset: KDataset = msgspec.field(default_factory=KDataset)
    optimizer: dict[str, Any] = msgspec.field(default_factory=dict)
    lr_sched: dict[str, Any] = msgspec.field(default_factory=dict)
    ema_sched: dict[str, Any] = msgspec.field(default_factory=dict)
    ema: dict[str, Any] = msgspec.field(default_factory=dict)


class DiTModel(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of facebookresearch/DiT's network, with its defaults."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    class_dropout_prob: float = 0.1
    num_classes: int = 1000
    learn_sigma: bool = True


class DiTConfig(msgspec.Struct, forbid_unknown_fields=True):
    """A file with those arguments under `model`."""

    model: DiTModel


def read_k_diffusion(path: Path) -> spec.Hourglass:
    """The hourglass that a k-diffusion configuration describes.

    Raises:
        UserError: the file is damaged, has an unknown key or a wrong type, or describes an impossible network.
    """
    return k_diffusion(configuration(path), path)


def k_diffusion(value: object, path: Path) -> spec.Hourglass:
    """The same of what such a file holds.

    Args:
        value: of `configuration`, or from a checkpoint.
        path: where it lies, for errors.

    Raises:
        UserError: as `read_k_diffusion`.
    """
    config = _k_diffusion(value, path)
    if config.model.has_variance:
        raise UserError(
            "a network that predicts its variance is not one of the released hourglasses",
            found=f"{path}: model.has_variance = true",
            expected="false",
            fix="only a configuration without has_variance can be loaded",
        )
    with _describing(path):
        return _hourglass(config)


def _k_diffusion(value: object, path: Path) -> KConfig:
    return _checked(value, path, KConfig, {"model": KModel, "dataset": KDataset})


def _hourglass(config: KConfig) -> spec.Hourglass:
    """The spec; every default that depends on other values is filled in as k-diffusion does."""
    model, levels = config.model, len(config.model.widths)
    attention: list[KAttention] = model.self_attns or [*[KNeighborhood()] * (levels - 1), KGlobal()]
    dropout = [0.0] * levels if model.dropout_rate is None else model.dropout_rate
    width = model.mapping_width
    return spec.Hourglass(
        resolution=max(model.input_size),
        patch=model.patch_size[0] if model.patch_size[0] == model.patch_size[1] else model.patch_size,
        widths=tuple(model.widths),
        depths=tuple(model.depths),
        heads=_heads(model.widths, attention),
        attention=tuple(_attention(each) for each in attention),
        mapping=spec.Mapping(
            depth=model.mapping_depth,
            width=width,
            d_ff=model.mapping_d_ff or 3 * width,
            dropout=model.mapping_dropout_rate,
            activation="gelu" if model.up_proj_act == "GELU" else "geglu",
        ),
        feed_forward=spec.GELU() if model.up_proj_act == "GELU" else spec.GEGLU(),
        position=spec.SinCosPosition() if model.pos_emb_type == "additive" else spec.AxialRoPE(),
        skip=SKIPS[model.backbone_skip_type],
        norm=spec.AdaRMSNorm() if model.norm_type == "AdaRMS" else spec.DiTLayerNorm(),
        gate=spec.DiTGate() if model.norm_type == "AdaLN" else spec.NoGate(),
        classes=config.dataset.num_classes,
        channels=model.input_channels,
        dropout=tuple(dropout) if isinstance(dropout, list) else (dropout,) * levels,
        d_ffs=tuple(model.d_ffs or [3 * each for each in model.widths]),
        mapping_cond=model.mapping_cond_dim,
    )


def k_diffusion_sigmas(value: object, path: Path) -> dict[str, float]:
    """sigma_data (1 where the configuration names none), sigma_min and sigma_max of a k-diffusion configuration.

    Args:
        value, path: as of `k_diffusion`.

    Raises:
        UserError: as `read_k_diffusion`; or it lacks one of the two ends, for which the released code has no default;
            or they are no noise levels.
    """
    model = _k_diffusion(value, path).model
    if model.sigma_min is None or model.sigma_max is None:
        raise UserError(
            "a configuration does not say between which noise levels samples are drawn",
            found=f"{path}: sigma_min {model.sigma_min}, sigma_max {model.sigma_max}",
            expected="both, in its model section",
            fix="add what the checkpoint was trained with, such as 0.01 and 160",
        )
    if not (0 < model.sigma_min < model.sigma_max < math.inf and 0 < model.sigma_data < math.inf):
        raise UserError(
            "a configuration has noise levels between which nothing can be drawn",
            found=f"{path}: sigma_min {model.sigma_min}, sigma_max {model.sigma_max}, sigma_data {model.sigma_data}",
            expected="0 < sigma_min < sigma_max and sigma_data > 0, all finite",
            fix="correct them to what the checkpoint was trained with, such as 0.01, 160 and 0.5",
        )
    return {"sigma_data": model.sigma_data, "sigma_min": model.sigma_min, "sigma_max": model.sigma_max}


def check_square(value: object, path: Path) -> None:
    """Refuse a k-diffusion configuration of images that are not square, which no run here draws; the released code
    trains on none either.

    Args:
        value, path: as of `k_diffusion`.

    Raises:
        UserError: as `read_k_diffusion`; or its `input_size` is two numbers that differ.
    """
    height, width = _k_diffusion(value, path).model.input_size
    if height != width:
        raise UserError(
            "a network is of images that are not square",
            found=f"{path}: model.input_size = [{height}, {width}]",
            expected="one size twice: runs draw and measure squares",
            fix="correct input_size if the network was trained on squares; else measure images that its own code "
            "draws: hdit-repro import --from images",
        )


def _heads(widths: list[int], attention: list[KAttention]) -> tuple[int, ...]:
    if len(widths) != len(attention):
        raise ValueError(f"self_attns names {len(attention)} levels and widths {len(widths)}")
    heads = []
    for width, each in zip(widths, attention, strict=True):
        head = width if isinstance(each, KNone) else each.d_head
        if head < 1 or width % head:
            raise ValueError(f"width {width} is no multiple of d_head {head}")
        heads.append(width // head)
    return tuple(heads)


def _attention(each: KAttention) -> spec.Attention:
    match each:
        case KNeighborhood(kernel_size=kernel):
            return spec.NeighborhoodAttention(kernel=kernel)
        case KShiftedWindow(window_size=window):
            return spec.ShiftedWindowAttention(window=window)
        case KNone():
            return spec.NoAttention()
        case _:
            return spec.GlobalAttention()


def read_dit(path: Path) -> spec.DiT:
    """The DiT that such a file describes; its time is a step number.

    Raises:
        UserError: as `read_k_diffusion`.
    """
    return dit(configuration(path), path)


def dit(value: object, path: Path) -> spec.DiT:
    """The same of what such a file holds; `value` and `path` as of `k_diffusion`.

    Raises:
        UserError: as `read_k_diffusion`.
    """
    model = _checked(value, path, DiTConfig, {"model": DiTModel}).model
    with _describing(path):
        return spec.DiT(
            resolution=model.input_size,
            patch=model.patch_size,
            width=model.hidden_size,
            depth=model.depth,
            heads=model.num_heads,
            classes=model.num_classes,
            channels=model.in_channels,
            ratio=model.mlp_ratio,
            learn_sigma=model.learn_sigma,
            class_dropout=model.class_dropout_prob,
        )


@contextlib.contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Refuse values in the file `path` of which no network can be made."""
    try:
        yield
    except ValueError as error:
        raise UserError(
            "this configuration describes no network",
            found=f"{path}: {error}",
            expected="sizes that go together",
            fix="correct the key that is named",
        ) from error


def configuration(path: Path) -> object:
    """What a configuration file holds, JSON or the fork's .jsonc with remarks.

    Raises:
        UserError: it is missing or no such file. Weights in its place are no damage, and nothing to delete.
    """
    if not path.exists():
        return read_json(path)  # which says what is missing
    try:
        return json.loads(NO_JSON.sub(lambda found: found[1] or "", path.read_text("utf-8")))
    except PermissionError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(
            "this is no configuration",
            found=f"{path}: {error}",
            expected="a JSON object",
            fix="pass the released code's config.json, and the weights after it",
        ) from error


def _checked(value: object, path: Path, kind: type[S], sections: dict[str, type[msgspec.Struct]]) -> S:
    if not isinstance(value, dict):
        raise UserError(
            "this is no configuration",
            found=f"{path}: {type(value).__name__}",
            expected="a JSON object",
            fix="pass the released code's config.json",
        )
    value = {key: each for key, each in value.items() if key not in REMARKS}
    _refuse_unknown(value, kind, str(path), "")
    for name, section in sections.items():
        if isinstance(value.get(name), dict):
            _refuse_unknown(value[name], section, str(path), f"{name}.")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UserError(
            "this configuration cannot be read",
            found=f"{path}: {error}",
            expected="the released code's own format",
            fix="pass the released code's config.json, whole",
        ) from error


def _refuse_unknown(value: dict[str, Any], kind: type[msgspec.Struct], path: str, prefix: str) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in map(str, value):
        if key not in known:
            close = nearest(key, known)
            raise UserError(
                f"there is no configuration key called {prefix + key!r}",
                found=f"{prefix + key!r} in {path}",
                expected=", ".join(prefix + name for name in known),
                fix=f"did you mean {prefix + close!r}?" if close else "take it out",
            )
