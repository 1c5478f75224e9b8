"""The sampling loop never asks the device for a value: all that waits is outside of it, however many steps it has."""

import msgspec
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hdit_repro import jobs
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer

aten = torch.ops.aten
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.is_nonzero.default}


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in WAITS
        return function(*args, **(kwargs or {}))


def drawn(row, steps, guidance=1.0):
    """How often drawing two samples waits, and how often the network was called."""
    tree = msgspec.to_builtins(jobs.find(row, "smoke").run)
    tree["sampling"] |= {"guidance": guidance}
    tree["sampling"]["sampler"] |= {"steps": steps}
    run, calls = msgspec.convert(tree, Run), []
    network = build(run.model, seed=0).eval()
    network.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    with Waits() as waits:
        Drawer(run, network, torch.device("cpu"), lambda: None)([0, 1])
    return waits.count, calls


@pytest.mark.parametrize("row", ["table1/E", "table1/B1", "table1/R1"])
def test_no_step_waits(row):
    waits = {steps: drawn(row, steps)[0] for steps in (2, 6)}
    assert waits[6] == waits[2]


def test_guidance_is_one_batch():
    waits, calls = drawn("table1/E", 3, guidance=1.5)
    assert calls == [4, 4, 4]  # two samples, with their class and without
    assert waits == drawn("table1/E", 5, guidance=1.5)[0]


def test_a_wait_is_seen():
    with Waits() as waits:
        torch.ones(1).item()
    assert waits.count == 1
