"""What goes between host and device without waiting arrives whole; what is replayed or compiled draws the same."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.stages.calling import called, way_gone
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import feed
from hdit_repro.training.loop import LoopSettings, new_state, train
from hdit_repro.training.step import Stepper
from hdit_repro.training.transfer import Reading, upload

TINY = Path(__file__).resolve().parents[1] / "training" / "tiny_run.json"


def tiny_run(**training: object) -> Run:
    tree = json.loads(TINY.read_text())
    tree["training"] |= training
    return msgspec.convert(tree, Run)


def test_uploads_and_readings_are_what_was_sent(device: torch.device) -> None:
    for number in range(20):  # memory that is taken and given back again and again
        x = torch.full((1 << 16,), number, dtype=torch.float64)
        there = upload(x, device)
        del x
        assert Reading(there[:2] + 1).numbers() == [number + 1.0] * 2


def test_images_that_are_sent_ahead_arrive(device: torch.device) -> None:
    run = tiny_run(steps=12)
    images = open_dataset(run.data)
    for there, here in zip(feed(run, images, 0, 12, device=device), feed(run, images, 0, 12), strict=True):
        assert there.batch.images.device.type == device.type
        assert torch.equal(there.batch.images.cpu(), here.batch.images)


def test_the_loop_takes_the_steps_of_one_that_waits(device: torch.device, tmp_path: Path) -> None:
    """Up to what a card's kernels leave open from run to run."""
    run = tiny_run(steps=6)
    images = open_dataset(run.data)
    twin = new_state(run, device)
    twin.network.train()
    waiting = Stepper(run, twin, World(device=device))
    for fed in feed(run, images, 0, 6):
        waiting(fed)
    settings = LoopSettings(device, log_every=1)
    state = train(run, images, tmp_path / "c", tmp_path / "m.jsonl", settings, lambda *_: None)
    exact = {"rtol": 0.0, "atol": 0.0} if device.type == "cpu" else {"rtol": 1e-3, "atol": 1e-4}
    for name, value in twin.tensors().items():
        torch.testing.assert_close(state.tensors()[name], value, **exact)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_replayed_network_draws_the_same(device: torch.device, guidance: float, precision: str) -> None:
    if device.type == "cpu":
        pytest.skip("a CPU has no CUDA graphs")
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    tree["sampling"] |= {"guidance": guidance, "precision": precision}
    run = msgspec.convert(tree, Run)
    network = build(run.model, seed=0).to(device).eval()
    for parameter in network.parameters():
        parameter.data += 0.02
    call = called(network, "graph", 3 if guidance == 1 else 6)
    for numbers in ([0, 1, 2], [3, 4], [0, 1, 2]):
        found, _ = Drawer(run, call, device, lambda: None)(numbers)
        expected, _ = Drawer(run, network, device, lambda: None)(numbers)
        difference = (found.int() - expected.int()).abs()
        assert float(difference.float().mean()) < 0.05
    assert way_gone(call, "graph") == "graph"
