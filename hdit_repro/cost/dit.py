"""Cost of the DiT: adaLN-Zero blocks on one grid of tokens (Peebles & Xie, 2023)."""

from __future__ import annotations

from hdit_repro.cost.tally import Cost, Tally
from hdit_repro.spec.model import DiT

FREQUENCIES = 256
"""Width of DiT's sinusoidal time embedding, before its two-layer network."""


def dit(spec: DiT, height: int, width: int) -> Cost:
    """One forward pass of one image of height x width pixels; the fixed positions are no parameters.

    Raises:
        ValueError: the patches do not divide the size.
    """
    spec.check_size(height, width)
    tokens = (height // spec.patch) * (width // spec.patch)
    patch, d = spec.patch * spec.patch, spec.width
    tally = Tally()
    tally.linear("patch in", spec.channels * patch, d, tokens, bias=True)
    tally.linear("mapping", FREQUENCIES, d, 1, bias=True)
    tally.linear("mapping", d, d, 1, bias=True)
    tally.parameters("mapping", (spec.classes + (1 if spec.class_dropout > 0 else 0)) * d)
    tally.linear("norms", d, 6 * d, 1, bias=True, times=spec.depth)
    tally.linear("attention projections", d, 3 * d, tokens, bias=True, times=spec.depth)
    tally.linear("attention projections", d, d, tokens, bias=True, times=spec.depth)
    tally.attention(tokens, tokens, d, times=spec.depth)
    tally.linear("feed-forward", d, spec.d_ff, tokens, bias=True, times=spec.depth)
    tally.linear("feed-forward", spec.d_ff, d, tokens, bias=True, times=spec.depth)
    tally.linear("norms", d, 2 * d, 1, bias=True)
    tally.linear("patch out", d, patch * spec.out_channels, tokens, bias=True)
    return tally.close()
