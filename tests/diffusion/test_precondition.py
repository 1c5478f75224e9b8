"""The preconditioner against k-diffusion's numbers, and what must hold of any denoiser it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hdit_repro.diffusion import Precondition, scalings
from hdit_repro.errors import UserError

REFERENCE = load_file(Path(__file__).parents[1] / "reference/diffusion/diffusion.safetensors")


class Recorder(nn.Module):
    """F(x, sigma) = x / (1 + sigma), in bfloat16 if asked; keeps what it was given."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.dtype = dtype
        self.given: list[object] = []

    def forward(self, x: Tensor, sigma: Tensor, **cond: Tensor | None) -> Tensor:
        self.given = [x, sigma, cond]
        return (x / (1 + sigma.reshape(-1, 1, 1, 1))).to(self.dtype)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_scalings_are_the_references(sigma_data: float) -> None:
    found = scalings(REFERENCE["precond.sigma"], sigma_data)
    for name, values in (("c_skip", found.skip), ("c_out", found.out), ("c_in", found.into)):
        torch.testing.assert_close(values, REFERENCE[f"precond.{name}.{sigma_data}"], rtol=1e-12, atol=0)


def test_denoiser_is_the_formula_and_passes_conditions_on() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=generator)
    sigma = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    classes = torch.tensor([1, 2, 3])
    network = Recorder()
    found = Precondition(network, 0.5)(x, sigma, class_cond=classes, aug_cond=None)
    for i, s in enumerate(sigma.tolist()):
        skip, out, into = 0.25 / (s * s + 0.25), s * 0.5 / (s * s + 0.25) ** 0.5, (s * s + 0.25) ** -0.5
        torch.testing.assert_close(found[i], skip * x[i] + out * (into * x[i]) / (1 + s), rtol=1e-12, atol=1e-12)
    assert network.given[1] is sigma
    assert network.given[2] == {"class_cond": classes, "aug_cond": None}


def test_network_in_half_precision_gives_a_denoised_image_in_the_dtype_of_x() -> None:
    """Only F is rounded: c_skip x, c_out and their sum are not."""
    x, sigma = torch.ones(2, 1, 2, 2), torch.tensor([0.1, 10.0])
    network = Recorder(torch.bfloat16)
    found, c = Precondition(network, 0.5)(x, sigma), scalings(sigma.double().reshape(-1, 1, 1, 1), 0.5)
    assert found.dtype == torch.float32
    output = (c.into * x / (1 + sigma.reshape(-1, 1, 1, 1))).bfloat16().double()
    torch.testing.assert_close(found.double(), c.skip * x + c.out * output, rtol=1e-6, atol=0)


def test_wide_noise_levels_reach_a_float32_network_in_float32() -> None:
    network = Recorder(torch.float32)
    found = Precondition(network, 0.5)(torch.ones(1, 1, 2, 2), torch.tensor([0.1], dtype=torch.float64))
    assert found.dtype == torch.float32
    assert all(isinstance(value, Tensor) and value.dtype == torch.float32 for value in network.given[:2])


def test_scalings_of_half_precision_levels_are_taken_in_float32() -> None:
    """In float16 sigma^2 of 300 is infinite, and of 0.0002 is 0."""
    x, sigma = torch.ones(2, 1, 2, 2).half(), torch.tensor([300.0, 2e-4]).half()
    found = Precondition(Recorder(), 0.5)(x, sigma)
    exact = Precondition(Recorder(), 0.5)(x.double(), sigma.double())
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, torch.nan, torch.inf])
def test_there_is_no_denoiser_at_a_sigma_that_is_not_positive(sigma: float) -> None:
    with pytest.raises(UserError, match="sigma must be above 0") as told:
        Precondition(Recorder(), 0.5)(torch.ones(2, 1, 2, 2), torch.tensor([1.0, sigma]))
    assert f"{sigma:g}" in str(told.value.found)


def test_the_network_is_a_submodule_and_sigma_data_is_shown() -> None:
    module = Precondition(nn.Linear(2, 2), 0.25)
    assert set(module.state_dict()) == {"network.weight", "network.bias"}
    assert "sigma_data=0.25" in repr(module)
