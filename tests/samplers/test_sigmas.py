"""The sigma grid against k-diffusion's numbers and its definition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hdit_repro.errors import UserError
from hdit_repro.samplers import karras_sigmas

REFERENCE = load_file(Path(__file__).parents[1] / "reference/diffusion/diffusion.safetensors")


@pytest.mark.parametrize("name", [name for name in REFERENCE if name.startswith("karras.")])
def test_grid_is_the_references(name: str) -> None:
    """The released code computes its ramp in float32, so its own grid is right to 1e-6 or so."""
    n, low, high = {
        "karras.10.0.02.80.0": (10, 0.02, 80.0),
        "karras.50.0.001.1000.0": (50, 0.001, 1000.0),
        "karras.50.0.01.160.0": (50, 0.01, 160.0),
    }[name]
    found = karras_sigmas(n, low, high)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, REFERENCE[name].double(), rtol=2e-6, atol=0)


@given(n=st.integers(1, 60), low=st.floats(1e-3, 1), ratio=st.floats(1.5, 1e5), rho=st.floats(1, 10))
def test_grid_falls_from_end_to_end_in_even_steps_of_its_root(n: int, low: float, ratio: float, rho: float) -> None:
    high = low * ratio
    grid = karras_sigmas(n, low, high, rho)
    assert grid.shape == (n + 1,)
    assert grid[-1].item() == 0
    assert grid[0].item() == pytest.approx(high, rel=1e-9)
    assert bool((grid.diff() < 0).all())
    if n > 1:
        assert grid[-2].item() == pytest.approx(low, rel=1e-6)
        roots = grid[:-1] ** (1 / rho)
        even = torch.full((n - 1,), (roots[-1] - roots[0]).item() / (n - 1), dtype=torch.float64)
        torch.testing.assert_close(roots.diff(), even, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        (0, 0.1, 1.0, 7.0),
        (5, 0.0, 1.0, 7.0),
        (5, 2.0, 1.0, 7.0),
        (5, 0.1, 1.0, 0.0),
        (5, 0.1, float("inf"), 7.0),
        (5, 0.1, 80.0, 1e-3),
    ],
)
def test_impossible_grids_are_refused(bad: tuple[int, float, float, float]) -> None:
    with pytest.raises(UserError, match="no such grid"):
        karras_sigmas(*bad)
