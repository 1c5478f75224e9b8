"""Recomputed activations, torch.compile, bfloat16 and deterministic kernels: the same steps, computed otherwise."""

import warnings

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.models.build import build
from hdit_repro.models.dropout import keyed
from hdit_repro.models.one_graph import CutApart
from hdit_repro.spec.model import GlobalAttention
from hdit_repro.spec.run import Run
from hdit_repro.training import acceleration
from hdit_repro.training.acceleration import LAYERS, accelerated, deterministic
from hdit_repro.training.log import read_log
from hdit_repro.training.loop import LoopSettings, train

CPU = torch.device("cpu")


def losses(run, images, folder, **settings):
    train(run, images, folder / "c", folder / "m.jsonl", LoopSettings(CPU, log_every=1, **settings), lambda *_: None)
    return [line["loss"] for line in read_log(folder / "m.jsonl")]


def test_recomputing_takes_the_same_steps_to_the_bit(tiny, tiny_images, tmp_path):
    """With dropout in it: the masks of the second pass are those of the first."""
    run = tiny(steps=4)
    assert any(run.model.dropout)
    plain = losses(run, tiny_images, tmp_path / "a")
    assert losses(run, tiny_images, tmp_path / "b", recompute=True) == plain


def test_recomputing_reaches_the_dits_blocks(tmp_path):
    tree = msgspec.to_builtins(jobs.find("table1/R1", "smoke").run)
    tree["training"] |= {"steps": 2, "batch": 2}
    run = msgspec.convert(tree, Run)
    images, calls = open_dataset(run.data), []
    plain = losses(run, images, tmp_path / "a")
    block = LAYERS[-1]
    forward = block.forward
    try:
        block.forward = lambda self, *rest: calls.append(1) or forward(self, *rest)
        assert losses(run, images, tmp_path / "b", recompute=True) == plain
    finally:
        block.forward = forward
    assert len(calls) == 2 * 2 * run.model.depth  # forward and once more in backward, two steps


def small(tiny):
    """A network of one level and the inputs of a call."""
    model = tiny().model
    one = {"widths": (16,), "depths": (1,), "heads": (1,), "dropout": (0.1,), "attention": (GlobalAttention(),)}
    network = build(msgspec.structs.replace(model, **one))
    return network, (torch.randn(2, 3, 16, 16), torch.rand(2), torch.tensor([1, 2]))


@pytest.fixture
def traced(monkeypatch):
    """Networks are traced as for the compiler, which is not run; of what is said, only its cuts count."""
    monkeypatch.setattr(acceleration, "lean_inductor", lambda graph, inputs: graph)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CutApart)
        yield


@pytest.mark.parametrize("recompute", [False, True])
def test_a_compiled_network_is_one_graph_with_dropout_in_it(recompute, tiny, traced):
    network, call = small(tiny)
    keys = torch.tensor([3, 4])
    with keyed(network.train(), keys):
        plain = network(*call)
        torch.testing.assert_close(accelerated(network, recompute=recompute, compiled=True)(*call), plain)


def test_one_that_is_cut_apart_is_spoken_of(tiny, traced):
    network, call = small(tiny)
    network.mapping.forward = torch.compiler.disable(network.mapping.forward)
    with pytest.warns(CutApart):
        accelerated(network, recompute=False, compiled=True)(*call)


@pytest.mark.long
def test_compiled_takes_the_same_steps_but_for_rounding(tiny, tiny_images, tmp_path):
    run = tiny(steps=3)
    plain = losses(run, tiny_images, tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        compiled = losses(run, tiny_images, tmp_path / "b", compiled=True)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)


def test_bfloat16_keeps_masters_in_float32(tiny, tiny_images, tmp_path):
    run = tiny(steps=3, precision="bfloat16")
    settings = LoopSettings(CPU, log_every=1)
    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, lambda *_: None)
    assert all(value.dtype == torch.float32 for name, value in state.tensors().items() if name != "watchdog")
    rounded = [line["loss"] for line in read_log(tmp_path / "m.jsonl")]
    plain = losses(tiny(steps=3), tiny_images, tmp_path / "b")
    assert rounded != plain
    np.testing.assert_allclose(rounded, plain, rtol=0.05)


def test_deterministic_is_switched_on_and_back(tiny, tiny_images, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    plain = losses(tiny(steps=2), tiny_images, tmp_path / "a")
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert losses(tiny(steps=2), tiny_images, tmp_path / "b") == plain
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
