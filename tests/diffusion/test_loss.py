"""EDM's loss: its definition, its precision, and the released code's losses of a whole network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hdit_repro.diffusion import edm_loss
from hdit_repro.errors import UserError
from hdit_repro.models import load_k_diffusion
from hdit_repro.spec.diffusion import Edm, EdmWeight, MinSnr, Snr, SoftMinSnr, Weighting

REFERENCE = Path(__file__).parents[1] / "reference"


def network(x: Tensor, sigma: Tensor, shift: Tensor | None = None) -> Tensor:
    """A stand-in for F that depends on each of its inputs."""
    out = torch.tanh(x) * (1 + sigma.to(x.dtype).log().reshape(-1, 1, 1, 1))
    return out if shift is None else out + shift.to(x.dtype)


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(4, 3, 6, 6, dtype=torch.float64, generator=generator) * 2 - 1
    noise = torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=generator)
    sigma = torch.tensor([1e-3, 0.3, 2.0, 1e3], dtype=torch.float64)
    return image.to(dtype), noise.to(dtype), sigma.to(dtype)


@pytest.mark.parametrize("weighting", [Snr(), MinSnr(gamma=5.0), SoftMinSnr(gamma=4.0), EdmWeight()])
def test_loss_is_the_weighted_error_of_the_denoised_image(weighting: Weighting) -> None:
    """w_x0 times the mean squared error of D, written out with D: the definition before any rearrangement."""
    image, noise, sigma = example()
    at = sigma.reshape(-1, 1, 1, 1)
    total = at**2 + 0.25
    x = image + noise * at
    c_out = at * 0.5 / total.sqrt()
    denoised = 0.25 / total * x + c_out * network(x / total.sqrt(), sigma)
    on_image = {
        "Snr": sigma**-2,
        "MinSnr": (sigma**-2).clamp(max=5),
        "SoftMinSnr": 1 / (sigma**2 + 0.25),
        "EdmWeight": c_out.flatten() ** -2,
    }[type(weighting).__name__]
    wanted = on_image * (denoised - image).square().flatten(1).mean(1)
    torch.testing.assert_close(edm_loss(network, image, noise, sigma, Edm(weighting=weighting)), wanted)


def test_conditions_reach_the_network_and_gradients_the_parameters() -> None:
    image, noise, sigma = example()
    shift = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    edm = Edm(weighting=EdmWeight())
    plain = edm_loss(network, image, noise, sigma, edm)
    shifted = edm_loss(network, image, noise, sigma, edm, shift=shift)
    assert not torch.allclose(plain, shifted)
    (gradient,) = torch.autograd.grad(shifted.sum(), shift)
    assert gradient.abs().item() > 0


def test_float32_keeps_six_digits_even_at_the_smallest_sigma() -> None:
    edm = Edm(weighting=EdmWeight())
    found = edm_loss(network, *example(torch.float32), edm)
    image, noise, sigma = (value.double() for value in example(torch.float32))
    torch.testing.assert_close(found.double(), edm_loss(network, image, noise, sigma, edm), rtol=2e-6, atol=0)


def test_error_is_taken_in_float32_when_the_network_answers_in_half_precision() -> None:
    image, noise, sigma = example(torch.float32)

    def half(x: Tensor, sigma: Tensor) -> Tensor:
        return network(x, sigma).bfloat16()

    found = edm_loss(half, image, noise, sigma, Edm(weighting=EdmWeight()))
    assert found.dtype == torch.float32
    exact = edm_loss(lambda x, s: half(x, s).float(), image, noise, sigma, Edm(weighting=EdmWeight()))
    assert torch.equal(found, exact)


def test_wide_noise_levels_reach_a_float32_network_in_float32() -> None:
    image, noise, sigma = example(torch.float32)
    given: list[Tensor] = []

    def keeps(x: Tensor, sigma: Tensor) -> Tensor:
        given.extend((x, sigma))
        return network(x, sigma)

    found = edm_loss(keeps, image, noise, sigma.double(), Edm(weighting=EdmWeight()))
    assert [value.dtype for value in (*given, found)] == [torch.float32] * 3


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"image": torch.zeros(4, 3, 6, 6, dtype=torch.uint8)}, "must be floating point"),
        ({"image": torch.zeros(1, 3, 6, 6)}, "noise must have the shape"),
        ({"noise": torch.zeros(4, 1, 6, 6)}, "noise must have the shape"),
        ({"sigma": torch.ones(4, 1)}, "sigma must be one number"),  # gave 4 x 4 losses
        ({"sigma": torch.ones(1)}, "sigma must be one number"),
        ({"sigma": torch.tensor(1.0)}, "sigma must be one number"),
        ({"sigma": torch.tensor([1.0, 0.0, 1.0, 1.0])}, "sigma must be above 0"),
        ({"sigma": torch.tensor([1.0, 1.0, -1.0, 1.0])}, "sigma must be above 0"),
    ],
)
def test_what_would_be_spread_over_the_batch_or_give_nan_is_refused(changed: dict[str, Tensor], problem: str) -> None:
    given = {**dict(zip(("image", "noise", "sigma"), example(), strict=True)), **changed}
    with pytest.raises(UserError, match=problem):
        edm_loss(network, **given, edm=Edm(weighting=Snr()))


@pytest.mark.parametrize(
    ("name", "weighting"),
    [("karras", EdmWeight()), ("snr", Snr()), ("soft-min-snr", SoftMinSnr(gamma=4.0))],
)
def test_losses_are_the_released_codes(name: str, weighting: Weighting) -> None:
    folder = REFERENCE / "hdit-global"
    numbers = load_file(folder / "io.safetensors")
    model = load_k_diffusion(folder / "config.json", folder / "weights.safetensors").double().eval()
    image, noise, sigma, aug = (numbers[key].double() for key in ("image", "noise", "sigma", "aug_cond"))
    with torch.no_grad():
        found = edm_loss(model, image, noise, sigma, Edm(weighting=weighting), aug_cond=aug)
    torch.testing.assert_close(found, numbers[f"loss.{name}"], rtol=1e-6, atol=0)
