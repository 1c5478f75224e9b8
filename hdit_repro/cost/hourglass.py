"""Cost of the hourglass, layer by layer. A linear layer is in * out MACs a token, attention 2 * n * seen * width."""

from __future__ import annotations

from hdit_repro.cost.tally import Cost, Tally
from hdit_repro.spec.model import (
    GEGLU,
    AdaLayerNorm,
    Attention,
    ConcatSkip,
    CosineSimilarity,
    DiTGate,
    DiTLayerNorm,
    GlobalAttention,
    Hourglass,
    LearnedPosition,
    LerpSkip,
    Level,
    MappingGate,
    NeighborhoodAttention,
    NoAttention,
    ShiftedWindowAttention,
)


def keys_seen(attention: Attention, tokens: int) -> int:
    """How many keys each query of a grid of `tokens` tokens sees; borders see as many as the middle."""
    match attention:
        case GlobalAttention():
            return tokens
        case NeighborhoodAttention(kernel=kernel):
            return kernel * kernel
        case ShiftedWindowAttention(window=window):
            return window * window
        case NoAttention():
            return 0


def hourglass(spec: Hourglass, height: int, width: int) -> Cost:
    """One forward pass of one image of height x width pixels through `spec` as it is.

    Raises:
        ValueError: patches, merges, kernels or windows do not fit the size.
    """
    spec.check_size(height, width)
    grid = (height // spec.patch_height) * (width // spec.patch_width)
    outer, patch = spec.widths[0], spec.channels * spec.patch_height * spec.patch_width
    tally = Tally()
    tally.linear("patch in", patch, outer, grid)
    if isinstance(spec.position, LearnedPosition):
        native = (spec.resolution // spec.patch_height) * (spec.resolution // spec.patch_width)
        tally.parameters("positions", native * outer)
    _mapping(tally, spec)
    last = len(spec.levels) - 1
    for level in spec.levels:
        tokens = grid >> (2 * level.index)
        times = level.depth if level.index == last else 2 * level.depth
        _layers(tally, spec, level, tokens, times)
        if level.index < last:
            inner = spec.widths[level.index + 1]
            tally.linear("merges", 4 * level.width, inner, tokens // 4)
            tally.linear("splits", inner, 4 * level.width, tokens // 4)
            _skip(tally, spec, level.width, tokens)
    tally.parameters("norms", outer)
    tally.linear("patch out", outer, patch, grid)
    return tally.close()


def _mapping(tally: Tally, spec: Hourglass) -> None:
    """Noise level, augmentation, class and extra conditions in; the blocks; once an image."""
    mapping = spec.mapping
    tally.linear("mapping", mapping.width, mapping.width, 1)
    if spec.augmentation_cond:
        tally.linear("mapping", mapping.width, mapping.width, 1)
    if spec.classes:
        tally.parameters("mapping", (spec.classes + 1) * mapping.width)
    if spec.mapping_cond:
        tally.linear("mapping", spec.mapping_cond, mapping.width, 1)
    inputs = 1 if mapping.activation == "gelu" else 2
    tally.linear("mapping", mapping.width, inputs * mapping.d_ff, 1, times=mapping.depth)
    tally.linear("mapping", mapping.d_ff, mapping.width, 1, times=mapping.depth)
    tally.parameters("mapping", (mapping.depth + 2) * mapping.width)


def _layers(tally: Tally, spec: Hourglass, level: Level, tokens: int, times: int) -> None:
    """`times` layers of a level: conditioned norm, attention, conditioned norm, feed-forward."""
    width, cond = level.width, spec.mapping.width
    norm_outputs = 2 * width if isinstance(spec.norm, AdaLayerNorm | DiTLayerNorm) else width
    attends = not isinstance(level.attention, NoAttention)
    branches = 2 if attends else 1
    tally.linear("norms", cond, norm_outputs, 1, bias=isinstance(spec.norm, DiTLayerNorm), times=branches * times)
    if isinstance(spec.gate, MappingGate | DiTGate):
        tally.linear("gates", cond, width, 1, bias=isinstance(spec.gate, DiTGate), times=branches * times)
    if attends:
        tally.linear("attention projections", width, 3 * width, tokens, times=times)
        tally.linear("attention projections", width, width, tokens, times=times)
        tally.attention(tokens, keys_seen(level.attention, tokens), width, times=times)
        if isinstance(spec.similarity, CosineSimilarity):
            tally.parameters("attention", level.heads * times)
    inputs = 2 if isinstance(spec.feed_forward, GEGLU) else 1
    tally.linear("feed-forward", width, inputs * level.d_ff, tokens, times=times)
    tally.linear("feed-forward", level.d_ff, width, tokens, times=times)


def _skip(tally: Tally, spec: Hourglass, width: int, tokens: int) -> None:
    if isinstance(spec.skip, LerpSkip):
        tally.parameters("skips", 1)
    elif isinstance(spec.skip, ConcatSkip):
        tally.linear("skips", 2 * width, width, tokens)
