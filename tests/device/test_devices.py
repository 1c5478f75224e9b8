"""The same numbers on every device: the authors' outputs, solvers' trajectories, the golden curve, numbers by key.

On a card float32 products are summed in other orders and neighborhood attention may take another kernel, so tolerances
are those of float32 there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.diffusion import as_keys, normals, uniforms
from hdit_repro.models import load_dit, load_k_diffusion
from hdit_repro.models.arithmetic import products
from hdit_repro.models.build import build
from hdit_repro.samplers import SAMPLERS
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.training.acceleration import deterministic
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import feed
from hdit_repro.training.loop import new_state
from hdit_repro.training.step import Stepper

TESTS = Path(__file__).resolve().parents[1]
REFERENCE = TESTS / "reference"
HOURGLASSES = sorted(path.name for path in REFERENCE.glob("hdit-*"))
TRAJECTORIES = {
    "dpmpp_3m_sde": "dpmpp_3m_sde", "dpmpp_2m_sde_midpoint": "dpmpp_2m_sde", "dpmpp_2m": "dpmpp_2m", "heun": "heun",
}  # fmt: skip


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    found, expected = found.detach().double().cpu(), expected.double()
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", HOURGLASSES)
def test_outputs_are_the_released_codes(name: str, device: torch.device) -> None:
    network = load_k_diffusion(REFERENCE / name / "config.json", REFERENCE / name / "weights.safetensors").to(device)
    io = {key: value.to(device) for key, value in load_file(REFERENCE / name / "io.safetensors").items()}
    conditions = {key: io[key] for key in ("class_cond", "aug_cond", "mapping_cond") if key in io}
    conditions = {key: v.float() if v.is_floating_point() else v for key, v in conditions.items()}
    with torch.no_grad(), products("float32", device):  # flex_attention may take TF32 where nothing is said
        output = network(io["x"].float(), io["sigma"].float(), **conditions)
    assert output.device.type == device.type
    assert error(output, io["inner_output"].cpu()) < 2e-5


def test_dits_output_is_the_released_codes(device: torch.device) -> None:
    folder = REFERENCE / "dit"
    network = load_dit(folder / "config.json", folder / "weights.safetensors").to(device)
    io = {key: value.to(device) for key, value in load_file(folder / "io.safetensors").items()}
    with torch.no_grad(), products("float32", device):  # its patches are a convolution
        assert error(network(io["x"].float(), io["t"], io["y"]), io["output"].cpu()) < 2e-5


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_trajectories_are_k_diffusions(trajectory: str, device: torch.device) -> None:
    io = {key: value.to(device) for key, value in load_file(REFERENCE / "diffusion/diffusion.safetensors").items()}
    name, mean, variance = TRAJECTORIES[trajectory], io["gauss.mu"], io["gauss.var"]

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        """The denoiser of the reference trajectories: a Gaussian's exact one, bent."""
        square = sigma.reshape(-1, 1, 1, 1) ** 2
        y: Tensor = (x * variance + mean * square) / (variance + square)
        return y + 0.05 * torch.tanh(3 * y)

    options: dict[str, Any] = {"noise": lambda step: io["traj.noise"][step]} if "sde" in name else {}
    out = SAMPLERS[name](denoiser, io["traj.x_T"], io["traj.sigmas"], **options)
    torch.testing.assert_close(out, io[f"traj.{trajectory}.out"], rtol=1e-9, atol=1e-9)


def tiny_run(**training: object) -> Run:
    tree = json.loads((TESTS / "training" / "tiny_run.json").read_text())
    tree["training"] |= training
    return msgspec.convert(tree, Run)


def test_the_golden_curve(device: torch.device) -> None:
    golden = json.loads((TESTS / "training" / "golden_curve.json").read_text())
    run = tiny_run(steps=50)
    state = new_state(run, device)
    state.network.train()
    step = Stepper(run, state, World(device=device))
    losses = [step(fed).loss for fed in feed(run, open_dataset(run.data), 0, 50)]
    tolerance = 1e-3 if device.type == "cpu" else 5e-3
    np.testing.assert_allclose(losses, golden["loss"], rtol=tolerance)


def test_numbers_by_key_are_the_cpus(device: torch.device) -> None:
    """Integers are equal everywhere, so uniform numbers are; cosine and logarithm may differ in the last bit."""
    keys = as_keys([1, 2**63 + 5, 7])
    assert torch.equal(uniforms(keys.to(device), 3, (5,)).cpu(), uniforms(keys, 3, (5,)))
    found, expected = normals(keys.to(device), 9, (3, 8, 8)).cpu(), normals(keys, 9, (3, 8, 8))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_sample_is_the_same_image_whatever_the_batch(device: torch.device) -> None:
    run = jobs.find("table1/E", "smoke").run
    draw = Drawer(run, build(run.model).to(device).eval(), device, lambda: None)
    together, _ = draw([0, 1, 2])
    alone, _ = draw([1])
    difference = (together[1].int() - alone[0].int()).abs()
    assert int(difference.max()) <= 1
    assert float(difference.float().mean()) < 0.05


def test_two_deterministic_trainings_end_with_the_same_bits(device: torch.device) -> None:
    def weights() -> dict[str, Tensor]:
        run = tiny_run(steps=5)
        state = new_state(run, device)
        state.network.train()
        step = Stepper(run, state, World(device=device))
        for fed in feed(run, open_dataset(run.data), 0, 5):
            step(fed)
        return state.tensors()

    with deterministic(True):
        first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_restored_run_takes_the_same_next_step(device: torch.device) -> None:
    """Moments and step counts come back where the optimiser wants them. A card's atomic sums alone would differ."""
    run = tiny_run(steps=3)
    images = open_dataset(run.data)
    state, again = new_state(run, device), new_state(run, device)
    parts = list(feed(run, images, 0, 3))
    with deterministic(True):
        for fed in parts[:2]:
            Stepper(run, state, World(device=device))(fed)
        again.restore({name: value.cpu() for name, value in state.tensors().items()}, state.step)
        losses = [Stepper(run, each, World(device=device))(parts[2]).loss for each in (state, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for one, two in zip(state.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
