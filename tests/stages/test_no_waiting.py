"""The sampling loop never asks the device for a value: all that waits is outside of it, however many steps it has."""

import sys

import msgspec
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from hdit_repro import inputs, jobs
from hdit_repro.diffusion import gaussian
from hdit_repro.models import conditions
from hdit_repro.models.build import build
from hdit_repro.samplers import contract
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default, aten.equal.default,
    aten.is_nonzero.default,
}  # fmt: skip
INDEXING = {aten.index.Tensor, aten.index_put_.default}
"""How many values a mask takes is known to the device alone."""
ASKS = {"tolist", "numpy", "cpu"}
"""What reads values without an operation of its own, or would copy them from a card."""


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for the device."""

    def __init__(self):
        super().__init__()
        self.count, self._asks = 0, Asks(self)

    def __enter__(self):
        self._asks.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._asks.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        masked = function in INDEXING and any(at is not None and at.dtype == torch.bool for at in args[1])
        self.count += function in WAITS or masked
        return function(*args, **(kwargs or {}))


class Asks(TorchFunctionMode):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.waits.count += getattr(function, "__name__", "") in ASKS
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def values_are_not_looked_at(monkeypatch):
    """As on a card: on a CPU, where it is free, the range of labels and levels is checked at every call."""
    for module in (inputs, conditions, gaussian):
        monkeypatch.setattr(module, "extremes", lambda _: None)


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


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(), lambda x: float(x.sum()), lambda x: bool(x.sum() > 0), lambda x: x.tolist(),
        lambda x: x.cpu(), lambda x: x[x > 0], lambda x: torch.equal(x, x),
    ],
)  # fmt: skip
def test_a_wait_is_seen(ask, inference):
    with Waits() as waits, torch.inference_mode(inference):
        ask(torch.ones(3))
    assert waits.count >= 1


def test_a_step_that_waits_is_seen(monkeypatch):
    plain = contract.at_level
    monkeypatch.setattr(
        sys.modules["hdit_repro.samplers.dpmpp_3m_sde"],
        "at_level",
        lambda x, sigma: plain(x, sigma + 0 * float(x.sum())),
    )
    assert drawn("table1/E", 6)[0] == drawn("table1/E", 2)[0] + 4
