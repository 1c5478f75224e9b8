"""Solvers against k-diffusion's trajectories, closed forms of a Gaussian, and their own contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from hdit_repro.errors import UserError
from hdit_repro.samplers import SAMPLERS, karras_sigmas
from hdit_repro.spec.base import kinds
from hdit_repro.spec.sampling import Sampler

REFERENCE = load_file(Path(__file__).parents[1] / "reference/diffusion/diffusion.safetensors")
STOCHASTIC = ("dpmpp_3m_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun")
DETERMINISTIC = ("dpmpp_2m", "heun", "euler")
TRAJECTORIES = {  # name in the reference: (solver, keywords)
    "dpmpp_3m_sde": ("dpmpp_3m_sde", {}),
    "dpmpp_3m_sde_eta0": ("dpmpp_3m_sde", {"eta": 0.0}),
    "dpmpp_2m_sde_midpoint": ("dpmpp_2m_sde", {}),
    "dpmpp_2m_sde_heun": ("dpmpp_2m_sde_heun", {}),
    "dpmpp_2m": ("dpmpp_2m", {}),
    "heun": ("heun", {}),
    "euler": ("euler", {}),
}


def gaussian(x: Tensor, sigma: Tensor, mean: float | Tensor = 0.3, variance: float | Tensor = 0.2) -> Tensor:
    """The exact denoiser of data from N(mean, variance)."""
    square = sigma.reshape(-1, 1, 1, 1) ** 2
    return (x * variance + mean * square) / (variance + square)


def reference_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    y = gaussian(x, sigma, REFERENCE["gauss.mu"], REFERENCE["gauss.var"])
    return y + 0.05 * torch.tanh(3 * y)


def noise_like(x: Tensor, seed: int = 5) -> Callable[[int], Tensor]:
    def noise(step: int) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1000 * seed + step))

    return noise


def keywords(name: str, x: Tensor) -> dict[str, object]:
    return {"noise": noise_like(x)} if name in STOCHASTIC else {}


def start(seed: int = 0, scale: float = 10.0) -> Tensor:
    return scale * torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_solver_of_the_spec_is_here_but_the_ancestral_one() -> None:
    """`ancestral` belongs to the discrete diffusion: GaussianDiffusion.sample."""
    assert set(SAMPLERS) == set(kinds(Sampler)) - {"ancestral"}
    assert set(SAMPLERS) == {*STOCHASTIC, *DETERMINISTIC}


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_every_state_is_the_references(trajectory: str) -> None:
    name, options = TRAJECTORIES[trajectory]
    if name in STOCHASTIC:
        options = options | {"noise": lambda step: REFERENCE["traj.noise"][step]}
    calls: list[tuple[Tensor, Tensor]] = []
    sigmas = REFERENCE["traj.sigmas"]

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((x.clone(), sigma))
        return reference_denoiser(x, sigma)

    out = SAMPLERS[name](denoise, REFERENCE["traj.x_T"], sigmas, **options)
    begun = calls[:: 2 if name == "heun" else 1]  # Heun's second call of a step looks ahead
    states = [x for x, _ in begun]
    assert torch.equal(torch.stack([sigma for _, sigma in begun]), sigmas[:-1, None].expand(-1, 2))
    torch.testing.assert_close(torch.stack(states), REFERENCE[f"traj.{trajectory}.x"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out, REFERENCE[f"traj.{trajectory}.out"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_first_step_that_is_the_last_returns_the_denoised_image(name: str) -> None:
    x = start()
    for sigmas in (torch.tensor([5.0, 0.0]), karras_sigmas(1, 0.1, 5.0)):
        out = SAMPLERS[name](gaussian, x, sigmas, **keywords(name, x))
        torch.testing.assert_close(out, gaussian(x, torch.full((2,), 5.0, dtype=torch.float64)))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_short_walks_end_in_finite_images_near_the_data(name: str, n: int) -> None:
    x = start()
    out = SAMPLERS[name](gaussian, x, karras_sigmas(n, 0.1, 10.0), **keywords(name, x))
    assert out.shape == x.shape
    assert bool(out.isfinite().all())
    assert out.std().item() < 0.5 * x.std().item()


def error_on_a_gaussian(name: str, n: int) -> float:
    """The largest error after n steps even in log sigma, without noise.

    Exact is x(sigma) = mean + (x - mean) sqrt((variance + sigma^2) / (variance + sigma_0^2)).
    """
    x, first, last = start(), 10.0, 0.1
    exact = 0.3 + (x - 0.3) * math.sqrt((0.2 + last**2) / (0.2 + first**2))
    sigmas = torch.linspace(math.log(first), math.log(last), n + 1, dtype=torch.float64).exp()
    options = {"eta": 0.0} if name in STOCHASTIC else {}
    return (SAMPLERS[name](gaussian, x, sigmas, **options) - exact).abs().max().item()


@pytest.mark.parametrize(
    ("name", "order"),
    [("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("dpmpp_2m_sde", 2), ("dpmpp_2m_sde_heun", 2), ("dpmpp_3m_sde", 2)],
)
def test_order_of_convergence_on_the_closed_form(name: str, order: int) -> None:
    """The released DPM++(3M) SDE is of second order for all its name (see its docstring)."""
    errors = [error_on_a_gaussian(name, n) for n in (80, 160, 320)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("n", [20, 50, 100])
def test_the_third_step_of_memory_pays_though_it_adds_no_order(n: int) -> None:
    assert error_on_a_gaussian("dpmpp_3m_sde", n) < 0.8 * error_on_a_gaussian("dpmpp_2m", n)


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_noise_keeps_the_marginal_of_a_gaussian(name: str, eta: float) -> None:
    """Whatever eta, x at the last sigma has variance `variance` + sigma^2 when it had so at the first.

    In so many steps that a solver of the first order is near enough too.
    """
    first, last, variance = 10.0, 0.2, 0.2
    generator = torch.Generator().manual_seed(11)

    def draw() -> Tensor:
        return torch.randn(1, 1, 100, 400, dtype=torch.float64, generator=generator)

    x = 0.3 + draw() * math.sqrt(variance + first**2)
    sigmas = torch.linspace(math.log(first), math.log(last), 201, dtype=torch.float64).exp()
    out = SAMPLERS[name](gaussian, x, sigmas, noise=lambda step: draw(), eta=eta)
    assert out.mean().item() == pytest.approx(0.3, abs=0.01)  # 4 standard errors
    assert out.var().item() == pytest.approx(variance + last**2, rel=0.03)  # 4 standard errors


def test_the_midpoint_sde_without_noise_is_dpmpp_2m() -> None:
    x, sigmas = start(), karras_sigmas(12, 0.02, 10.0)
    quiet = SAMPLERS["dpmpp_2m_sde"](reference_denoiser, x, sigmas, eta=0)
    torch.testing.assert_close(quiet, SAMPLERS["dpmpp_2m"](reference_denoiser, x, sigmas))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    x, sigmas = start(), karras_sigmas(6, 0.02, 10.0)
    whole = SAMPLERS[name](gaussian, x, sigmas, **keywords(name, x))
    options = {"noise": lambda step: noise_like(x)(step)[1:]} if name in STOCHASTIC else {}
    torch.testing.assert_close(SAMPLERS[name](gaussian, x[1:], sigmas, **options), whole[1:], rtol=0, atol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_of_the_network(name: str) -> None:
    calls: list[Tensor] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        assert sigma.dtype == x.dtype
        assert not torch.is_grad_enabled()
        return gaussian(x, sigma)

    x = start().float()
    out = SAMPLERS[name](denoise, x, karras_sigmas(7, 0.02, 10.0), **keywords(name, x))
    assert out.dtype == torch.float32
    assert len(calls) == msgspec.convert({"kind": name, "steps": 7}, Sampler).calls, "what plans and records say"
    assert all(sigma.shape == (2,) and sigma.min() > 0 for sigma in calls)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_start_is_left_as_it_was(name: str) -> None:
    x = start()
    kept = x.clone()
    SAMPLERS[name](gaussian, x, karras_sigmas(5, 0.02, 10.0), **keywords(name, x))
    assert torch.equal(x, kept)


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(SAMPLERS)), n=st.integers(1, 8), last=st.sampled_from([0.0, 0.05]))
def test_a_denoiser_that_knows_one_image_leads_to_it(name: str, n: int, last: float) -> None:
    """Of data that is one point, what is left at the last sigma is noise of that sigma at most."""
    x = start(scale=20.0)
    grid = karras_sigmas(n, 0.1, 20.0)[:-1]
    sigmas = torch.cat([grid, grid.new_tensor([last])])
    point = torch.full_like(x, 0.4)
    out = SAMPLERS[name](lambda x, sigma: point, x, sigmas, **keywords(name, x))
    assert (out - point).abs().max().item() <= 6 * last + 1e-12


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("keyword", ["noise", "eta"])
def test_solvers_without_noise_take_none(name: str, keyword: str) -> None:
    with pytest.raises(TypeError, match=keyword):
        SAMPLERS[name](gaussian, start(), karras_sigmas(3, 0.1, 10.0), **{keyword: None})


@pytest.mark.parametrize("name", STOCHASTIC)
def test_missing_noise_and_a_wrong_eta_are_refused_before_the_first_call(name: str) -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        raise AssertionError("called")

    for options, message in (({}, "needs noise"), ({"eta": -0.1}, "eta scales"), ({"eta": math.nan}, "eta scales")):
        with pytest.raises(UserError, match=message):
            SAMPLERS[name](denoise, start(), karras_sigmas(3, 0.1, 10.0), **options)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "sigmas",
    [[5.0], [0.0, 0.0], [1.0, 2.0], [2.0, -1.0], [2.0, 2.0, 0.0], [math.inf, 1.0], [math.nan, 1.0], [[1.0, 0.0]]],
)
def test_grids_that_do_not_fall_are_refused(name: str, sigmas: list[float]) -> None:
    x = start()
    with pytest.raises(UserError, match="cannot be walked down"):
        SAMPLERS[name](gaussian, x, torch.tensor(sigmas), **keywords(name, x))
