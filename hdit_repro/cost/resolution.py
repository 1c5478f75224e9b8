"""The paper's rule for other resolutions (Section 5.2, Appendix A): a level more for each doubling."""

from __future__ import annotations

import msgspec

from hdit_repro.spec.model import DiT, Hourglass, Model


def at_resolution(model_spec: Model, resolution: int) -> Model:
    """The network of a row at another resolution (side in pixels).

    For each doubling above the row's own resolution, one more level of the outermost level's width, depth, heads and
    attention is put outside, so that the core keeps its grid. At or below the row's own resolution, and for networks
    of a single level (DiT, R3, R4), nothing but the resolution changes; below it a kernel or window may no longer fit.

    Raises:
        ValueError: patches, merges, kernels or windows do not fit the resolution.
    """
    if isinstance(model_spec, DiT) or len(model_spec.widths) == 1:
        return msgspec.structs.replace(model_spec, resolution=resolution)
    doublings = max(0, (resolution // model_spec.resolution).bit_length() - 1)
    return _wider(model_spec, resolution, doublings)


def _wider(spec: Hourglass, resolution: int, extra: int) -> Hourglass:
    """`spec` at `resolution` with its outermost level repeated `extra` times outside."""
    grown = {
        name: (getattr(spec, name)[0],) * extra + getattr(spec, name)
        for name in ("widths", "depths", "heads", "attention", "dropout", "d_ffs")
        if getattr(spec, name)
    }
    return msgspec.structs.replace(spec, resolution=resolution, **grown)
