"""Loss weights against k-diffusion's numbers and the paper's definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hdit_repro.diffusion import WEIGHTINGS, loss_weight
from hdit_repro.errors import UserError
from hdit_repro.spec.base import Choice, kinds
from hdit_repro.spec.diffusion import EdmWeight, MinSnr, Snr, SoftMinSnr, Weighting

REFERENCE = load_file(Path(__file__).parents[1] / "reference/diffusion/diffusion.safetensors")
SIGMA = REFERENCE["precond.sigma"]


def test_every_weighting_of_the_spec_has_its_function() -> None:
    assert set(WEIGHTINGS) == set(kinds(Weighting))


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("name", ["snr", "soft_min_snr"])
def test_weights_are_the_references(name: str, sigma_data: float) -> None:
    torch.testing.assert_close(
        WEIGHTINGS[name](SIGMA, sigma_data), REFERENCE[f"weight.{name}.{sigma_data}"], rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("gamma", [4, 5])
def test_min_snr_is_the_references(gamma: int) -> None:
    found = WEIGHTINGS["min_snr"](SIGMA, 0.5, gamma=gamma)
    torch.testing.assert_close(found, REFERENCE[f"weight.min_snr.gamma{gamma}"], rtol=1e-12, atol=0)


@given(
    sigma=st.floats(1e-3, 1e3),
    sigma_data=st.floats(0.1, 2),
    gamma=st.floats(0.1, 100),
)
def test_weights_are_the_papers_weight_on_the_image_times_c_out_squared(
    sigma: float, sigma_data: float, gamma: float
) -> None:
    c_out_squared = (sigma * sigma_data) ** 2 / (sigma**2 + sigma_data**2)
    on_image = {
        Snr(): sigma**-2,
        MinSnr(gamma=gamma): min(sigma**-2, gamma),
        SoftMinSnr(gamma=gamma): 1 / (sigma**2 + 1 / gamma),
        EdmWeight(): 1 / c_out_squared,
    }
    for weighting, weight in on_image.items():
        found = loss_weight(weighting, torch.tensor([sigma], dtype=torch.float64), sigma_data).item()
        assert found == pytest.approx(weight * c_out_squared, rel=1e-9)


class MadeUp(Choice, tag="made-up"):
    """A weighting with a number of its own."""

    power: float


def test_what_a_job_says_of_a_weighting_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of the id and of no number, a field that nobody passed on would be said in vain."""
    monkeypatch.setitem(WEIGHTINGS, "made-up", lambda sigma, sigma_data, power: sigma**power)
    assert loss_weight(MadeUp(power=3.0), torch.tensor([2.0]), 0.5).item() == 8.0  # type: ignore[arg-type]


def test_min_snr_multiplies_by_c_out_squared_and_does_not_divide() -> None:
    found = WEIGHTINGS["min_snr"](torch.tensor([0.05], dtype=torch.float64), 0.5, gamma=5.0).item()
    assert found == pytest.approx(0.0124, abs=5e-5)


@pytest.mark.parametrize("name", ["snr", "edm"])
def test_a_gamma_that_nothing_reads_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="has no gamma"):
        WEIGHTINGS[name](SIGMA, 0.5, gamma=4.0)


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan")])
def test_a_gamma_that_caps_nothing_is_refused(gamma: float) -> None:
    with pytest.raises(UserError, match="gamma caps"):
        WEIGHTINGS["soft_min_snr"](SIGMA, 0.5, gamma=gamma)
