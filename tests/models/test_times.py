"""What a DiT makes of the noise level, against the chain written out by hand and the fork's own wrapper (R2)."""

import math
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from hdit_repro.diffusion import Precondition, edm_loss
from hdit_repro.diffusion.respacing import linear_betas
from hdit_repro.errors import UserError
from hdit_repro.models import build
from hdit_repro.models.released import read_dit
from hdit_repro.models.times import NestedDdpm, chain_log_sigmas
from hdit_repro.spec import model as spec
from hdit_repro.spec.diffusion import Edm, Snr

FORK = Path(__file__).parents[1] / "reference" / "nested-dit"


def chain():
    """Noise levels of DiT's 1,000 steps, one by one in plain Python."""
    kept, found = 1.0, []
    for step in range(1000):
        kept *= 1 - (1e-4 + (0.02 - 1e-4) * step / 999)
        found.append(math.sqrt((1 - kept) / kept))
    return found


@pytest.fixture
def nested(small_dit):
    return msgspec.structs.replace(small_dit, time=spec.NestedDdpm())


def test_the_chain_is_dits_and_ends_where_the_fork_says():
    found = chain_log_sigmas()
    torch.testing.assert_close(found, torch.tensor(chain(), dtype=torch.float64).log())
    kept = (1 - linear_betas(1000)).cumprod(0)
    assert torch.equal(found, ((1 - kept) / kept).sqrt().log())
    assert found[-1].exp().item() == pytest.approx(157.4073, rel=1e-5)
    assert (found.diff() > 0).all()


def test_a_level_of_the_chain_is_its_step_and_log_sigma_is_interpolated(nested):
    time, levels = build(nested).time, chain()
    assert isinstance(time, NestedDdpm)
    steps = [0, 1, 2, 500, 998, 999]
    found = time.step(torch.tensor([levels[step] for step in steps], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(steps, dtype=torch.float64), atol=1e-3, rtol=0)
    for step, part in [(0, 0.5), (10, 0.25), (998, 0.9)]:
        between = levels[step] ** (1 - part) * levels[step + 1] ** part
        assert time.step(torch.tensor([between])).item() == pytest.approx(step + part, abs=2e-3)


def test_beyond_the_chain_its_ends_stand(nested):
    time = build(nested).time
    assert time.step(torch.tensor([1e-3, 9e-3, 158.0, 1e3])).tolist() == [0, 0, 999, 999]
    assert time.step(torch.tensor([1.0], dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("sigma", [0.003, 0.7, 20.0, 400.0])
def test_f_is_the_image_that_the_noise_predictor_takes_for_denoised(small_dit, nested, awaken, sigma):
    """The same weights as a plain DiT, which is called by hand: D = c_skip x + c_out (c_in x - sigma eps(...))."""
    plain, network = awaken(build(small_dit)).double(), awaken(build(nested)).double()
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64) * max(1, sigma)
    labels, level = torch.tensor([0, 1, 4]), torch.full((3,), sigma, dtype=torch.float64)
    total = sigma**2 + 0.25
    scaled = x / math.sqrt(total)
    eps = plain(scaled / math.sqrt(sigma**2 + 1), network.time.step(level), labels)
    wanted = 0.25 / total * x + sigma * 0.5 / math.sqrt(total) * (scaled - sigma * eps)
    found = Precondition(network, 0.5)(x, level, class_cond=labels)
    torch.testing.assert_close(found, wanted)
    assert (wanted - plain(scaled, level, labels)).abs().max() > 0.01


def test_every_image_has_a_level_of_its_own(nested, awaken):
    network = awaken(build(nested)).double()
    x, labels = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 4])
    levels = torch.tensor([0.02, 1.5, 90.0], dtype=torch.float64)
    alone = [network(x[i : i + 1], levels[i : i + 1], labels[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(network(x, levels, labels), torch.cat(alone))


@pytest.mark.parametrize("time", [spec.LogSigma(scale=100.0, offset=500.0), spec.NestedDdpm()])
def test_a_time_that_is_sigma_is_positive_and_a_step_may_be_0(small_dit, time):
    call = (torch.zeros(2, 3, 8, 8), torch.tensor([1.0, 0.0]), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="sigma must be above 0"):
        build(msgspec.structs.replace(small_dit, time=time))(*call)
    assert build(small_dit)(*call).isfinite().all()


def test_it_starts_as_no_noise_at_all(nested):
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(build(nested)(x, torch.tensor([0.5, 3.0]), torch.tensor([0, 1])), x)


def test_half_precision_scales_in_float32(nested, awaken):
    """Under autocast the last layer is rounded; x and sigma times it are not."""
    network = awaken(build(nested))
    x, level, labels = torch.randn(2, 3, 8, 8), torch.tensor([100.0, 0.01]), torch.tensor([0, 1])
    expected = network(x, level, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x, level, labels)
    assert found.dtype == torch.float32
    assert (found - expected)[1].abs().max() < 1e-3
    assert (found - expected).norm() < 0.1 * (expected - x).norm()


def test_a_nested_predictor_learns_no_variance(nested):
    with pytest.raises(ValueError, match="learn_sigma must be false"):
        msgspec.structs.replace(nested, learn_sigma=True)


def test_r2_is_what_the_forks_wrapper_gives(error):
    """Its numbers are float64, but abar is rounded to float32, which moves the first steps by 2e-4. Levels lie within
    its chain and beyond both ends; each image is held by itself."""
    network = build(msgspec.structs.replace(read_dit(FORK / "config.json"), time=spec.NestedDdpm()))
    lacking = network.load_state_dict(load_file(FORK / "weights.safetensors"), strict=False)
    assert lacking == (["time.log_sigmas"], [])
    network, io = network.double(), load_file(FORK / "io.safetensors")
    x, sigma, labels = io["x"].double(), io["sigma"].double(), io["class_cond"]
    with torch.no_grad():
        steps = network.time.step(sigma)
        output, denoised = network(x, sigma, labels), Precondition(network, 0.5)(x, sigma, class_cond=labels)
        image, noise = io["image"].double(), io["noise"].double()
        losses = edm_loss(network, image, noise, sigma, Edm(weighting=Snr()), class_cond=labels)
    torch.testing.assert_close(steps, io["timestep"], rtol=1e-6, atol=1e-3)
    for found, wanted in ((output, io["inner_output"]), (denoised, io["denoised"]), (losses, io["loss.snr"])):
        assert max(error(one, other) for one, other in zip(found, wanted, strict=True)) < 1e-5
