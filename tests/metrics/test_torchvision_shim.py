"""torchvision is importable in a fresh process, and light modules stay free of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hdit_repro.metrics import torchvision_shim

IMPORT = """
from hdit_repro.metrics.torchvision_shim import import_torchvision
torchvision = import_torchvision()
assert import_torchvision() is torchvision
import torch, torch_fidelity, cleanfid.resize
assert torch.ops.torchvision.nms is not None
"""

LIGHT = """
import sys
import hdit_repro.metrics.weights, hdit_repro.metrics
hdit_repro.metrics.weights.listing()
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("code", [IMPORT, LIGHT], ids=["import", "light"])
def test_in_a_fresh_process(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_declared_where_the_library_loads(monkeypatch):
    declared = []
    monkeypatch.setattr(torchvision_shim, "_declare_operators", lambda: declared.append(1))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_shim.importlib, "import_module", lambda name: name)
    for loads in (True, False):
        torchvision_shim.import_torchvision.cache_clear()
        monkeypatch.setattr(torchvision_shim, "_library_loads", lambda loads=loads: loads)
        monkeypatch.setattr(torchvision_shim.torch.version, "cuda", None)
        assert torchvision_shim.import_torchvision() == "torchvision"
        assert declared == ([] if loads else [1])
    torchvision_shim.import_torchvision.cache_clear()
