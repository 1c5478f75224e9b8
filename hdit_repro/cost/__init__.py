"""From a network's spec to its multiply-accumulates and parameters, in plain integers. No torch."""

from __future__ import annotations

from hdit_repro.cost.dit import dit as _dit
from hdit_repro.cost.hourglass import hourglass as _hourglass
from hdit_repro.cost.resolution import CORE as CORE
from hdit_repro.cost.resolution import at_resolution as at_resolution
from hdit_repro.cost.resolution import innermost as innermost
from hdit_repro.cost.tally import PARTS as PARTS
from hdit_repro.cost.tally import Cost as Cost
from hdit_repro.spec.model import DiT, Model

__all__ = ["CORE", "PARTS", "Cost", "at_resolution", "count", "innermost"]


def count(model_spec: Model, height: int, width: int | None = None) -> Cost:
    """MACs of one forward pass of one image, and trainable parameters, by part.

    Args:
        model_spec: the network, counted as it is (see `at_resolution` for other resolutions).
        height: pixels.
        width: pixels; None is a square image.

    Raises:
        ValueError: the size cannot be cut into patches, merges, kernels or windows.
    """
    width = height if width is None else width
    return _dit(model_spec, height, width) if isinstance(model_spec, DiT) else _hourglass(model_spec, height, width)
