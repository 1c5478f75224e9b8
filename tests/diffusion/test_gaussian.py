"""R1's discrete diffusion against DiT's numbers, its closed forms, and its bound written out slowly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from hdit_repro.diffusion import GaussianDiffusion, guide
from hdit_repro.diffusion.likelihood import discretized_nll, gaussian_kl
from hdit_repro.diffusion.respacing import linear_betas, respace, spaced_timesteps
from hdit_repro.errors import UserError
from hdit_repro.models import load_dit

FOLDER = Path(__file__).parents[1] / "reference/dit"
REFERENCE = load_file(FOLDER / "io.safetensors")
KEPT_STEPS = (0, 6, 12, 18, 24)  # of the 25 whose states the reference keeps


class Oracle:
    """The exact epsilon for data from N(0.1, variance), and v = 0.3; keeps the timesteps it was given."""

    def __init__(self, variance: float = 0.25) -> None:
        self.variance = variance
        self.given: list[int] = []
        self.products = (1 - linear_betas(1000)).cumprod(0)

    def __call__(self, x: Tensor, t: Tensor, class_cond: Tensor | None = None) -> Tensor:
        self.given.append(int(t[0]))
        product = self.products[t].reshape(-1, 1, 1, 1).to(x.dtype)
        posterior = 0.1 + self.variance * product.sqrt() * (x - product.sqrt() * 0.1) / (
            product * self.variance + 1 - product
        )
        epsilon = (x - product.sqrt() * posterior) / (1 - product).sqrt()
        if class_cond is not None:
            epsilon = epsilon + 0.01 * class_cond.reshape(-1, 1, 1, 1)
        return torch.cat([epsilon, torch.full_like(x, 0.3)], dim=1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [25, 250])
def test_respaced_schedules_are_the_references(steps: int) -> None:
    kept = spaced_timesteps(1000, steps)
    assert kept == REFERENCE[f"respaced.{steps}.timestep_map"].tolist()
    betas = respace(linear_betas(1000), kept)
    torch.testing.assert_close(betas, REFERENCE[f"respaced.{steps}.betas"], rtol=1e-9, atol=0)


def test_the_whole_chain_is_the_references() -> None:
    kept = spaced_timesteps(1000, 1000)
    assert kept == list(range(1000))
    torch.testing.assert_close(respace(linear_betas(1000), kept), REFERENCE["betas"], rtol=1e-9, atol=0)
    assert linear_betas(1000)[0].item() == pytest.approx(1e-4)
    assert linear_betas(1000)[-1].item() == pytest.approx(0.02)


@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 2), (1000, 999), (300, 77), (50, 50)])
def test_respaced_chains_keep_both_ends_and_the_long_chains_noise(timesteps: int, steps: int) -> None:
    kept = spaced_timesteps(timesteps, steps)
    assert kept == sorted(set(kept))
    assert (len(kept), kept[0], kept[-1]) == (steps, 0, timesteps - 1)
    betas = linear_betas(timesteps)
    torch.testing.assert_close((1 - respace(betas, kept)).cumprod(0), (1 - betas).cumprod(0)[kept])


@pytest.mark.parametrize(("steps", "kept"), [(21, 499), (31, 500)])
def test_places_halfway_between_two_timesteps_fall_as_dits_sum_has_them(steps: int, kept: int) -> None:
    """Multiplied out they are 499.5, which rounds to 500 there and 499 here; the sum of strides lies beside it."""
    assert spaced_timesteps(1000, steps)[steps // 2] == kept


@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 1), (1000, 1001), (1000, 0), (20, 10), (0, None), (2, None)])
def test_impossible_chains_are_refused(timesteps: int, steps: int | None) -> None:
    with pytest.raises(UserError, match=r"no such respaced chain|too few timesteps"):
        GaussianDiffusion(timesteps, steps)


def test_bound_of_a_step_is_the_kl_and_at_zero_the_likelihood() -> None:
    """The terms written out from the definitions, for one value of one image."""
    betas = linear_betas(1000)
    products = (1 - betas).cumprod(0)
    image, noise = draw(3, 3, 4, 4).clamp(-1, 1), draw(3, 3, 4, 4, seed=1)
    t = torch.tensor([0, 400, 1])
    losses = GaussianDiffusion().training_losses(Oracle(), image, noise, t)

    now = products[t].reshape(-1, 1, 1, 1)
    x = now.sqrt() * image + (1 - now).sqrt() * noise
    epsilon = Oracle()(x, t)[:, :3]
    torch.testing.assert_close(losses.mse, (epsilon - noise).square().mean((1, 2, 3)))

    guess = (x - (1 - now).sqrt() * epsilon) / now.sqrt()
    for place, step in ((1, 400), (2, 1)):
        beta, before, after = betas[step], products[step - 1], products[step]
        variance = beta * (1 - before) / (1 - after)
        image_weight, x_weight = beta * before.sqrt(), (1 - before) * (1 - beta).sqrt()
        true_mean, mean = ((image_weight * i[place] + x_weight * x[place]) / (1 - after) for i in (image, guess))
        log_variance = 0.65 * beta.log() + 0.35 * variance.log()  # v = 0.3
        gap = variance.log() - log_variance
        kl = 0.5 * (gap.exp() - 1 - gap + (true_mean - mean) ** 2 / log_variance.exp())
        assert losses.vb[place].item() == pytest.approx(kl.mean().item() / math.log(2), rel=1e-9)

    first = betas[1] * (1 - products[0]) / (1 - products[1])  # the second step's, standing in for the first's 0
    scale = torch.full_like(x[0], (0.65 * betas[0].log() + 0.35 * first.log()).item() / 2)
    nll = discretized_nll(image[0], guess[0], scale)
    assert losses.vb[0].item() == pytest.approx(nll.mean().item() / math.log(2), rel=1e-9)
    torch.testing.assert_close(losses.total, losses.mse + losses.vb)


def test_likelihood_of_all_values_sums_to_one() -> None:
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, scale in ((0.0, 0.3), (-0.98, 0.05), (0.4, 1.5)):
        nll = discretized_nll(values, torch.full_like(values, mean), torch.full_like(values, math.log(scale)))
        assert torch.exp(-nll).sum().item() == pytest.approx(1, abs=1e-6)
    tiny = discretized_nll(values[:1], values[:1] + 2, torch.full((1,), -7.0, dtype=torch.float64))
    assert tiny.item() == pytest.approx(-math.log(1e-12))


def test_likelihood_takes_the_normal_of_the_tanh_approximation() -> None:
    """It is that of GELU's approximation: gelu(x) = x cdf(x)."""

    def cdf(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh") / x

    values = torch.tensor([-1.0, -51 / 255, 0.2, 1.0], dtype=torch.float64)
    mean = torch.tensor([-0.8, -0.1, 0.9, 0.7], dtype=torch.float64)
    scale = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
    upper, lower = cdf((values + 1 / 255 - mean) / scale), cdf((values - 1 / 255 - mean) / scale)
    mass = torch.stack([upper[0], upper[1] - lower[1], upper[2] - lower[2], 1 - lower[3]])
    torch.testing.assert_close(discretized_nll(values, mean, scale.log()), -mass.log(), rtol=1e-9, atol=0)


def test_kl_of_gaussians_is_torchs() -> None:
    a, b, c, d = draw(4, 5, seed=2)
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Normal(a, torch.exp(b / 2)), torch.distributions.Normal(c, torch.exp(d / 2))
    )
    torch.testing.assert_close(gaussian_kl(a, b, c, d), wanted)


def test_the_bound_teaches_the_variance_and_not_epsilon() -> None:
    output = draw(2, 6, 4, 4).requires_grad_()
    losses = GaussianDiffusion().training_losses(
        lambda x, t: output, draw(2, 3, 4, 4, seed=1).clamp(-1, 1), draw(2, 3, 4, 4, seed=2), torch.tensor([0, 500])
    )
    (by_vb,) = torch.autograd.grad(losses.vb.sum(), output, retain_graph=True)
    (by_mse,) = torch.autograd.grad(losses.mse.sum(), output)
    assert by_vb[:, :3].abs().max().item() == 0
    assert by_vb[:, 3:].abs().min().item() > 0
    assert by_mse[:, 3:].abs().max().item() == 0


def test_samples_of_an_exact_network_have_the_datas_moments() -> None:
    """Every timestep that the network sees is the whole chain's number."""
    oracle, generator = Oracle(variance=0.25), torch.Generator().manual_seed(4)

    def unit(step: int = 0) -> Tensor:
        return torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=generator)

    out = GaussianDiffusion(1000, 250).sample(oracle, unit(), unit)
    assert oracle.given == spaced_timesteps(1000, 250)[::-1]
    assert out.mean().item() == pytest.approx(0.1, abs=0.02)
    assert out.std().item() == pytest.approx(0.5, abs=0.02)


def test_data_scale_multiplies_what_is_noised_and_divides_samples() -> None:
    image, noise, t = draw(2, 3, 4, 4).clamp(-1, 1) / 2, draw(2, 3, 4, 4, seed=1), torch.tensor([3, 700])
    plain, scaled = GaussianDiffusion(), GaussianDiffusion(data_scale=2.0)
    found, wanted = (
        chain.training_losses(Oracle(), pixels, noise, t) for chain, pixels in ((scaled, image), (plain, 2 * image))
    )
    torch.testing.assert_close(found, wanted)

    short = [GaussianDiffusion(1000, 10, data_scale=scale) for scale in (1.0, 2.0)]
    out, halved = (chain.sample(Oracle(), noise, lambda step: draw(2, 3, 4, 4, seed=step)) for chain in short)
    torch.testing.assert_close(halved, out / 2)


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
def test_data_scale_leaves_the_bins_of_the_likelihood_on_the_image(scale: float) -> None:
    """At t = 0 the mean is the guessed image and v = 0 the geometric mean of two variances, both of the noised data;
    bins are 2/255 wide on the image, whose values lie in [-1, 1] whatever the scale."""
    image, noise = draw(2, 3, 4, 4).clamp(-1, 1), draw(2, 3, 4, 4, seed=1)
    off, t = 0.3 * draw(2, 3, 4, 4, seed=2), torch.zeros(2, dtype=torch.int64)

    def guesses(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([noise - off, torch.zeros_like(x)], dim=1)

    betas = linear_betas(1000)
    guess = image + (1 / (1 - betas[0]) - 1).sqrt() * off / scale
    second = betas[1] * betas[0] / (1 - (1 - betas[0]) * (1 - betas[1]))
    width = torch.full_like(image, (betas[0] * second).sqrt().sqrt().item() / scale)
    bits = discretized_nll(image, guess, width.log()).mean((1, 2, 3)) / math.log(2)
    found = GaussianDiffusion(data_scale=scale).training_losses(guesses, image, noise, t).vb
    torch.testing.assert_close(found, bits, rtol=1e-9, atol=0)


def test_float32_agrees_with_float64_and_half_precision_networks_are_taken() -> None:
    image, noise, t = draw(2, 3, 4, 4).clamp(-1, 1), draw(2, 3, 4, 4, seed=1), torch.tensor([20, 700])
    exact = GaussianDiffusion().training_losses(Oracle(), image, noise, t)
    single = GaussianDiffusion().training_losses(Oracle(), image.float(), noise.float(), t)
    half = GaussianDiffusion().training_losses(lambda x, t: Oracle()(x, t).bfloat16(), image.float(), noise.float(), t)
    for name in exact._fields:
        assert getattr(single, name).dtype == getattr(half, name).dtype == torch.float32
        torch.testing.assert_close(getattr(single, name).double(), getattr(exact, name), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(half.mse, single.mse, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}, "must be floating point"),
        ({"noise": torch.zeros(1, 3, 4, 4)}, "noise must have the shape"),
        ({"t": torch.tensor([[3], [5]])}, "t must be one number"),
        ({"t": torch.tensor([3])}, "t must be one number"),
    ],
)
def test_what_would_be_spread_over_the_batch_or_taken_for_other_pixels_is_refused(
    changed: dict[str, Tensor], problem: str
) -> None:
    given = {"image": draw(2, 3, 4, 4), "noise": draw(2, 3, 4, 4, seed=1), "t": torch.tensor([3, 5])}
    with pytest.raises(UserError, match=problem):
        GaussianDiffusion().training_losses(Oracle(), **{**given, **changed})


@pytest.mark.parametrize("t", [[-1, 3], [3, 25], [25, 25]])
def test_places_beyond_the_chain_are_refused(t: list[int]) -> None:
    """Negative ones were taken from its end."""
    chain = GaussianDiffusion(1000, 25)
    with pytest.raises(UserError, match="beyond the chain") as told:
        chain.training_losses(Oracle(), draw(2, 3, 4, 4), draw(2, 3, 4, 4), torch.tensor(t))
    assert told.value.expected == "0 to 24"


@pytest.mark.parametrize("t", [-1, 25])
def test_there_is_no_step_from_beyond_the_chain(t: int) -> None:
    with pytest.raises(UserError, match="beyond the chain") as told:
        GaussianDiffusion(1000, 25).step(Oracle(), draw(2, 3, 4, 4), t, draw(2, 3, 4, 4))
    assert told.value.found == f"t = {t}"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_places_are_integers_and_no_mask(dtype: torch.dtype) -> None:
    with pytest.raises(UserError, match="are integers"):
        GaussianDiffusion().training_losses(Oracle(), draw(1, 3, 4, 4), draw(1, 3, 4, 4), torch.ones(1, dtype=dtype))


def test_guidance_moves_epsilon_and_leaves_the_variance() -> None:
    x, noise, chain = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1), GaussianDiffusion(1000, 250)
    classes, dropped = torch.tensor([2, 5]), 10
    guided = guide(Oracle(), 3.0, classes, dropped, channels=3)
    found = chain.step(guided, x, 100, noise)
    # Oracle adds 0.01 class to epsilon, so guidance is a class of 10 + 3 (c - 10).
    wanted = chain.step(Oracle(), x, 100, noise, class_cond=dropped + 3 * (classes - dropped))
    torch.testing.assert_close(found, wanted)


def test_training_losses_are_dits() -> None:
    model = load_dit(FOLDER / "config.json", FOLDER / "weights.safetensors").double().eval()
    image, noise = REFERENCE["image"].double(), REFERENCE["noise"].double()
    with torch.no_grad():
        found = GaussianDiffusion().training_losses(model, image, noise, REFERENCE["t"], class_cond=REFERENCE["y"])
    for name, values in (("mse", found.mse), ("vb", found.vb), ("loss", found.total)):
        torch.testing.assert_close(values, REFERENCE[f"train.{name}"], rtol=1e-4, atol=0)


def test_the_ancestral_trajectory_is_dits() -> None:
    model = load_dit(FOLDER / "config.json", FOLDER / "weights.safetensors").double().eval()
    noise = REFERENCE["sample.noise"].double()
    states: list[Tensor] = []

    def watched(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        states.append(x)
        return model(x, t, **cond)

    start = REFERENCE["sample.x_T"].double()
    out = GaussianDiffusion(1000, 25).sample(watched, start, lambda step: noise[step], class_cond=REFERENCE["y"])
    after = [*states[1:], out]
    largest = REFERENCE["sample.out"].abs().max().item()
    torch.testing.assert_close(out, REFERENCE["sample.out"], rtol=1e-4, atol=1e-4 * largest)
    kept = torch.stack([after[step] for step in KEPT_STEPS])
    torch.testing.assert_close(kept, REFERENCE["sample.trajectory"], rtol=1e-4, atol=1e-4 * largest)
