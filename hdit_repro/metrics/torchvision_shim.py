"""Makes torchvision importable beside a CPU build of torch. The only module that imports torchvision.

torchvision describes the operators `nms` and `qnms` to torch when it is imported. They are defined by its binary
library, which does not load where a CUDA build of torchvision meets a CPU build of torch, and then the import fails
with "operator torchvision::nms does not exist". Nothing of this project calls them: declaring them is enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import library as registry

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@lru_cache(maxsize=1)
def import_torchvision() -> ModuleType:
    """torchvision, imported. Call this before torch-fidelity or clean-fid is imported.

    Raises:
        ImportError: torchvision is not installed.
    """
    if "torchvision" not in sys.modules and torch.version.cuda is None and not _library_loads():
        _declare_operators()
    return importlib.import_module("torchvision")


def _library_loads() -> bool:
    """Whether torchvision's own library loads here. Loading it twice does no harm."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise ImportError("torchvision is not installed")
    for library in sorted(Path(found.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False


@lru_cache(maxsize=1)
def _declare_operators() -> registry.Library:
    """The declarations last as long as the returned library is kept, which the cache does."""
    library = registry.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in OPERATORS:
        library.define(name + SIGNATURE)  # type: ignore[no-untyped-call]
    return library
