"""Every declared job: its network at paper scale on the meta device, its cost against torch's own counter, and two
steps of training at smoke scale."""

from pathlib import Path

import msgspec
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hdit_repro import jobs
from hdit_repro.cost import count
from hdit_repro.cost.hourglass import keys_seen
from hdit_repro.data.datasets import open_dataset
from hdit_repro.models.blocks import SelfAttention
from hdit_repro.models.build import build
from hdit_repro.spec.model import DiT, GlobalAttention, Hourglass, NoAttention
from hdit_repro.spec.run import Run
from hdit_repro.training.loop import LoopSettings, train

PAPER = {job.run.model: job for job in jobs.all_jobs()}
"""One job for each network."""
SMOKE = {job.run.training_id: job for job in jobs.all_jobs("smoke")}
"""One job for each training."""


def named(job):
    return job.name


def forward(model):
    """One image through the network on the meta device: (network, shape of the output)."""
    side = model.resolution
    with torch.device("meta"):
        network = build(model).eval()
        x = torch.empty(1, model.channels, side, side)
        label = torch.empty(1, dtype=torch.int64) if model.classes else None
        level = torch.empty(1, dtype=torch.int64 if isinstance(model, DiT) else torch.float32)
        with torch.no_grad():
            out = network(x, level, class_cond=label)
    return network, tuple(out.shape)


@pytest.mark.parametrize("job", PAPER.values(), ids=named)
def test_the_network_builds_at_paper_scale_and_gives_its_shape(job):
    model = job.run.model
    network, shape = forward(model)
    channels = model.out_channels if isinstance(model, DiT) else model.channels
    assert shape == (1, channels, model.resolution, model.resolution)
    assert sum(parameter.numel() for parameter in network.parameters()) == count(model, model.resolution).parameters


def local_macs(model):
    """What the counter says of local attention's two products: tokens x keys seen x 2 x width a layer."""
    if not isinstance(model, Hourglass):
        return 0
    grid = (model.resolution // model.patch_height) * (model.resolution // model.patch_width)
    total = 0
    for level in model.levels:
        if not isinstance(level.attention, GlobalAttention | NoAttention):
            tokens = grid >> (2 * level.index)
            layers = level.depth * (1 if level.index == len(model.levels) - 1 else 2)
            total += 2 * tokens * keys_seen(level.attention, tokens) * level.width * layers
    return total


@pytest.mark.parametrize("job", PAPER.values(), ids=named)
def test_cost_is_half_of_torchs_flops_but_for_local_attention(job, monkeypatch):
    model = job.run.model

    plain = SelfAttention.__init__

    def init(self, network, level, attend):
        plain(self, network, level, attend)
        if not isinstance(level.attention, GlobalAttention):
            self.attend = lambda q, k, v: v

    monkeypatch.setattr(SelfAttention, "__init__", init)
    with FlopCounterMode(display=False) as counter:
        forward(model)
    assert counter.get_total_flops() % 2 == 0
    assert counter.get_total_flops() // 2 == count(model, model.resolution).macs - local_macs(model)


@pytest.fixture(scope="module")
def images():
    """Each data set of the smoke runs, opened once."""
    opened: dict[object, object] = {}

    def get(data):
        key = msgspec.structs.replace(data, flip=False)
        if key not in opened:
            opened[key] = open_dataset(data)
        return opened[key]

    return get


@pytest.mark.parametrize("job", SMOKE.values(), ids=named)
def test_two_steps_of_training_at_smoke_scale(job, images, tmp_path: Path):
    tree = msgspec.to_builtins(job.run)
    tree["training"] |= {"steps": 1, "batch": 2, "growth": [{"steps": 1, "batch": 4}]}
    run = msgspec.convert(tree, Run)
    loop = LoopSettings(torch.device("cpu"), log_every=1)
    seen = []
    state = train(run, images(run.data), tmp_path, tmp_path / "m.jsonl", loop, lambda *said: seen.append(said))
    assert state.step == 2
    assert all(torch.isfinite(torch.tensor(values["loss"])) for _, _, values in seen)
