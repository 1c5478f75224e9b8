"""Noise densities and stratification against k-diffusion's numbers; splits of a batch that change nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hdit_repro.diffusion import DENSITIES, cosine_interpolated, noise_levels, stratify_draws
from hdit_repro.errors import UserError
from hdit_repro.spec.base import kinds
from hdit_repro.spec.diffusion import CosineInterpolated, Density, Edm, SoftMinSnr

REFERENCE = load_file(Path(__file__).parents[1] / "reference/diffusion/diffusion.safetensors")


def test_every_density_of_the_spec_has_its_function() -> None:
    assert set(DENSITIES) == set(kinds(Density))


@pytest.mark.parametrize("image_size", [64, 128, 256, 1024])
def test_density_is_the_references(image_size: int) -> None:
    found = cosine_interpolated(REFERENCE["density.u"], image_size)
    torch.testing.assert_close(found, REFERENCE[f"density.cosine_interpolated.{image_size}"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("image_size", [32, 64, 1024])
def test_float32_quantiles_lose_nothing_but_their_own_rounding(image_size: int) -> None:
    u = torch.cat([torch.zeros(1), torch.rand(200, generator=torch.Generator().manual_seed(1))])
    found = cosine_interpolated(u, image_size)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), cosine_interpolated(u.double(), image_size), rtol=1e-7, atol=0)


@given(
    size=st.integers(8, 2048),
    low=st.floats(4, 256),
    ratio=st.floats(1, 64),
    sigma_data=st.floats(0.1, 2),
)
def test_quantiles_fall_from_sigma_max_to_sigma_min(size: int, low: float, ratio: float, sigma_data: float) -> None:
    u = torch.linspace(0, 1, 50, dtype=torch.float64)
    sigma = cosine_interpolated(u, size, low, low * ratio, sigma_data, sigma_min=0.01, sigma_max=100)
    assert sigma[0].item() == pytest.approx(100, rel=1e-6)
    assert sigma[-1].item() == pytest.approx(0.01, rel=1e-6)
    assert bool((sigma.diff() < 0).all())


def test_unshifted_density_is_the_cosine_schedule() -> None:
    """With both noise resolutions at the image's, sigma / sigma_data is the tangent of an angle even in u."""
    u = torch.tensor([0.25, 0.5], dtype=torch.float64)
    sigma = cosine_interpolated(u, 64, 64, 64, sigma_data=0.5)
    first, last = math.atan(2000), math.atan(0.002)
    assert sigma.tolist() == pytest.approx([0.5 * math.tan(first + a * (last - first)) for a in (0.25, 0.5)])


def test_between_two_shifted_schedules_log_sigma_is_interpolated_by_u() -> None:
    """A schedule at noise resolution d is the cosine schedule of d's own images, whose sigmas at `size` are size / d
    times as large; here 32 and 128 for images of 64."""
    for at in (0.125, 0.5, 0.75):
        logs = []
        for d in (32, 128):
            first, last = (math.atan(sigma * d / 64 / 0.5) for sigma in (100.0, 0.02))
            logs.append(math.log(64 / d * 0.5 * math.tan(first + at * (last - first))))
        u = torch.tensor(at, dtype=torch.float64)
        found = cosine_interpolated(u, 64, 32, 128, sigma_data=0.5, sigma_min=0.02, sigma_max=100.0)
        assert found.log().item() == pytest.approx((1 - at) * logs[0] + at * logs[1], rel=1e-12)


@pytest.mark.parametrize(
    "bad",
    [{"image_size": 0}, {"noise_d_low": -1}, {"sigma_min": 2000}, {"sigma_data": 0}, {"noise_d_high": math.nan}],
)
def test_impossible_densities_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="no such density"):
        cosine_interpolated(torch.zeros(1), **({"image_size": 64} | bad))


def test_integer_quantiles_are_refused() -> None:
    with pytest.raises(UserError, match="floating-point"):
        cosine_interpolated(torch.zeros(1, dtype=torch.int64), 64)


@pytest.mark.parametrize(("n", "group", "groups"), [(8, 0, 1), (8, 1, 4), (5, 2, 3)])
def test_strata_are_the_references(n: int, group: int, groups: int) -> None:
    """k-diffusion deals: draw i of group g has stratum i groups + g."""
    batch = n * groups
    found = stratify_draws(REFERENCE[f"stratified.{n}.rand.f32"], torch.arange(group, batch, groups), batch)
    torch.testing.assert_close(found, REFERENCE[f"stratified.{n}.{group}.{groups}.f32"], rtol=0, atol=1e-7)


@given(n=st.integers(1, 200), cut=st.integers(0, 200), seed=st.integers(0, 99))
def test_each_stratum_is_met_once_however_the_batch_is_split(n: int, cut: int, seed: int) -> None:
    uniform = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    position = torch.arange(n)
    whole = stratify_draws(uniform, position, n)
    assert (whole * n).floor().long().tolist() == position.tolist()
    parts = [stratify_draws(uniform[part], position[part], n) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(torch.cat(parts), whole)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="one draw or more"):
        stratify_draws(torch.zeros(0), torch.zeros(0), 0)


def test_noise_levels_read_every_field_of_the_spec() -> None:
    uniform = torch.tensor([0.5, 0.5], dtype=torch.float64)
    position = torch.tensor([0, 3])
    density = CosineInterpolated(noise_d_low=16, noise_d_high=48)
    edm = Edm(weighting=SoftMinSnr(), density=density, sigma_data=0.7, sigma_min=0.01, sigma_max=50)
    wanted = cosine_interpolated(torch.tensor([0.125, 0.875], dtype=torch.float64), 64, 16, 48, 0.7, 0.01, 50)
    torch.testing.assert_close(noise_levels(edm, 64, uniform, position, 4), wanted)

    plain = Edm(weighting=SoftMinSnr(), stratified=False)
    torch.testing.assert_close(noise_levels(plain, 64, uniform, position, 4), cosine_interpolated(uniform, 64))
