"""Networks at other resolutions: a level more for each doubling (Sections 4.1 and 5.2, Appendix A).

How wide and deep an added level is, the paper does not spell out. That it is as the outermost one is inferred from the
costs that Table 1 prints: with it E comes to the printed 65 and 198 GFLOP at 256² and 512².
"""

from __future__ import annotations

import msgspec

from hdit_repro.spec.model import DiT, Hourglass, Model

CORE = 16
"""Tokens a side of the innermost level, by which the paper chooses the number of levels (Section 4.1)."""


def at_resolution(model_spec: Model, resolution: int) -> Model:
    """The network of a row at another resolution (side in pixels).

    For each doubling above the row's own resolution, one more level is put outside, so that the core keeps its grid; it
    has the outermost level's width, depth, heads and attention, which but for the attention is inferred. Between two
    doublings nothing is added (Appendix A).

    Below the row's own resolution, of which the paper says nothing, and for networks of a single level (DiT, R3, R4),
    nothing but the resolution changes. Below it the innermost grid becomes smaller than Section 4.1 would have it (see
    `innermost`), and a kernel or window may no longer fit.

    Raises:
        ValueError: patches, merges, kernels or windows do not fit the resolution.
    """
    if isinstance(model_spec, DiT) or len(model_spec.widths) == 1:
        return msgspec.structs.replace(model_spec, resolution=resolution)
    doublings = max(0, (resolution // model_spec.resolution).bit_length() - 1)
    return _wider(model_spec, resolution, doublings)


def innermost(model_spec: Model) -> tuple[int, int]:
    """Tokens of a network's innermost grid, down and across, at the network's own resolution."""
    if isinstance(model_spec, DiT):
        return (model_spec.resolution // model_spec.patch,) * 2
    last = len(model_spec.widths) - 1
    side = model_spec.resolution
    return side // model_spec.patch_height >> last, side // model_spec.patch_width >> last


def _wider(spec: Hourglass, resolution: int, extra: int) -> Hourglass:
    """`spec` at `resolution` with its outermost level repeated `extra` times outside."""
    grown = {
        name: (getattr(spec, name)[0],) * extra + getattr(spec, name)
        for name in ("widths", "depths", "heads", "attention", "dropout", "d_ffs")
        if getattr(spec, name)
    }
    return msgspec.structs.replace(spec, resolution=resolution, **grown)
