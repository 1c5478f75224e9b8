"""What a run says of its sampling reaches the solver, and a sample is what its parts make of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from hdit_repro import jobs
from hdit_repro.diffusion import GaussianDiffusion, as_keys, normals
from hdit_repro.errors import RunError
from hdit_repro.metrics.quantise import to_uint8
from hdit_repro.samplers import SAMPLERS, karras_sigmas
from hdit_repro.seeds import derive
from hdit_repro.spec.run import Run
from hdit_repro.spec.sampling import Solver
from hdit_repro.stages.denoiser import Drawer


def run_with(**sampling: Any) -> Run:
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    del tree["sampling"]["sigma_min"], tree["sampling"]["sigma_max"]
    tree["sampling"] |= sampling
    tree["diffusion"] |= {"sigma_min": 0.01, "sigma_max": 20.0}
    return msgspec.convert(tree, Run)


class Nothing(nn.Module):
    """F = 0, so that D = c_skip x; remembers the classes that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: list[Tensor] = []

    def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor, **_: Tensor) -> Tensor:
        self.classes.append(class_cond)
        return torch.zeros_like(x)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the solver, whichever is called; it returns its start after one call of the denoiser."""
    found: dict[str, Any] = {}

    def recorder(name: str) -> Any:
        def solve(denoise: Any, x: Tensor, sigmas: Tensor, **more: Any) -> Tensor:
            found.update(name=name, x=x, sigmas=sigmas, **more)
            denoise(x, sigmas[:1].expand(len(x)).float())
            return x

        return solve

    for name in SAMPLERS:
        monkeypatch.setitem(SAMPLERS, name, recorder(name))
    return found


def draw(run: Run, numbers: list[int]) -> tuple[Nothing, Tensor | None]:
    network = Nothing()
    _, labels = Drawer(run, network, torch.device("cpu"), lambda: None)(numbers)
    return network, labels


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("rho", "steps"), [(7.0, 5), (3.0, 9)])
def test_the_grid_and_eta_are_the_runs(seen: dict[str, Any], eta: float, rho: float, steps: int) -> None:
    draw(run_with(sampler={"kind": "dpmpp_2m_sde", "steps": steps, "eta": eta}, rho=rho), [0, 1])
    assert seen["name"] == "dpmpp_2m_sde"
    assert seen["eta"] == eta
    assert torch.equal(seen["sigmas"], karras_sigmas(steps, 0.01, 20.0, rho))
    assert seen["noise"](0).shape == seen["x"].shape
    assert not torch.equal(seen["noise"](0), seen["noise"](1))
    assert 15 < seen["x"].std() < 25, "unit noise times sigma_max"


def test_a_sampling_may_have_ends_of_its_own(seen: dict[str, Any]) -> None:
    draw(run_with(sigma_min=0.1, sigma_max=3.0), [0, 1])
    assert torch.equal(seen["sigmas"], karras_sigmas(50, 0.1, 3.0, 7.0))
    assert 2 < seen["x"].std() < 4, "unit noise times the sampling's own sigma_max"
    draw(run_with(sigma_max=3.0), [0, 1])
    assert torch.equal(seen["sigmas"], karras_sigmas(50, 0.01, 3.0, 7.0))


def test_deterministic_solvers_get_neither_noise_nor_eta(seen: dict[str, Any]) -> None:
    draw(run_with(sampler={"kind": "heun", "steps": 3}), [0])
    assert seen.keys() == {"name", "x", "sigmas"}


class MadeUp(Solver, tag="made-up"):
    """A solver with a number of its own."""

    churn: float = 0.5


def test_what_a_job_says_of_a_solver_reaches_it(seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of the id and of no number, a field that nobody passed on would be said in vain."""
    monkeypatch.setitem(SAMPLERS, "made-up", SAMPLERS["heun"])
    run = run_with()
    sampling = msgspec.structs.replace(run.sampling, sampler=MadeUp(steps=3, churn=0.25))
    draw(msgspec.structs.replace(run, sampling=sampling), [0])
    assert seen["churn"] == 0.25
    assert "noise" not in seen


def test_the_start_is_a_samples_own(seen: dict[str, Any]) -> None:
    draw(run_with(), [3, 8])
    both = seen["x"]
    draw(run_with(), [8])
    assert torch.equal(seen["x"], both[1:])
    draw(run_with(seed=1), [8])
    assert not torch.equal(seen["x"], both[1:])


def test_labels_are_dealt_in_turn_or_drawn(seen: dict[str, Any]) -> None:
    network, labels = draw(run_with(labels="balanced"), [0, 8, 9, 10])
    assert labels is not None
    assert labels.tolist() == [0, 8, 0, 1], "of nine classes"
    assert network.classes[0].tolist() == labels.tolist()
    _, drawn = draw(run_with(labels="random"), list(range(400)))
    assert drawn is not None
    counts = torch.bincount(drawn, minlength=9)
    assert len(counts) == 9
    assert counts.min() > 20


def test_guidance_asks_with_and_without_the_class(seen: dict[str, Any]) -> None:
    plain, _ = draw(run_with(), [0, 1])
    guided, labels = draw(run_with(guidance=1.5), [0, 1])
    assert labels is not None
    assert [len(asked) for asked in plain.classes] == [2]
    asked = torch.cat(guided.classes).tolist()
    assert sorted(asked) == sorted([*labels.tolist(), 9, 9]), "9 is no class"


NUMBERS = [2, 5, 11]


def keys_of(run: Run) -> Tensor:
    """Keys of samples NUMBERS, by the words of `sample_keys`: part of what a run is."""
    seed = derive(run.seed, run.sampling.seed, "samples")
    return as_keys(derive(seed, number, "sample") for number in NUMBERS)


class Bent(nn.Module):
    """F of the image, the level and the class."""

    def forward(self, x: Tensor, level: Tensor, class_cond: Tensor) -> Tensor:
        return torch.sin(x + (class_cond / 10 + level).view(-1, 1, 1, 1))


class BentWithVariance(nn.Module):
    """Epsilon of about x, bent by class and step, and a variance that hangs on the class."""

    def forward(self, x: Tensor, t: Tensor, class_cond: Tensor) -> Tensor:
        shift = (class_cond / 10 + t / 40).to(x.dtype).view(-1, 1, 1, 1)
        return torch.cat([x + 0.05 * torch.sin(3 * x + shift), torch.sin(x + shift)], dim=1)


def test_a_sample_of_edm_is_what_its_parts_make_of_it() -> None:
    """One step of the solver and the last by hand: every seed, stream, scale and weight is written out."""
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    tree["seed"] = 3
    tree["diffusion"] |= {"sigma_data": 0.8}
    sampler = {"kind": "dpmpp_2m_sde", "steps": 2, "eta": 0.5}
    tree["sampling"] |= {
        "sigma_min": 0.05,
        "sigma_max": 4.0,
        "seed": 7,
        "guidance": 1.5,
        "labels": "balanced",
        "sampler": sampler,
    }
    run = msgspec.convert(tree, Run)
    keys, side = keys_of(run), run.data.resolution
    labels = torch.tensor([number % 9 for number in NUMBERS])
    network = Bent()

    def denoise(x: Tensor, sigma: float) -> Tensor:
        total = sigma**2 + 0.8**2
        level = torch.full((len(x),), sigma)
        with_class, without = (
            0.8**2 / total * x + sigma * 0.8 / total**0.5 * network(x / total**0.5, level, classes)
            for classes in (labels, torch.full_like(labels, 9))
        )
        return without + 1.5 * (with_class - without)

    start, noise = (normals(keys, stream, (3, side, side)) for stream in (0, 16))
    x = 4.0 * start
    # One step from sigma_max to sigma_min, then D itself: h = log(4 / 0.05), and sigma ratio^(1 + eta) = e^(-1.5 h).
    ratio = 0.05 / 4.0
    first = denoise(x, 4.0)
    x = ratio**1.5 * x + (1 - ratio**1.5) * first + 0.05 * (1 - ratio) ** 0.5 * noise
    expected = to_uint8(denoise(x, 0.05))

    images, dealt = Drawer(run, network, torch.device("cpu"), lambda: None)(NUMBERS)
    assert dealt is not None
    assert torch.equal(dealt, labels)
    assert ((images > 0) & (images < 255)).double().mean() > 0.5, "most are neither black nor white"
    # Two orders of the same sums: a value in a thousand may fall to the other side of a half.
    off = (images.int() - expected.int()).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < 1e-3


def test_a_sample_of_the_discrete_diffusion_is_what_its_parts_make_of_it() -> None:
    """R1: its chain and data scale, epsilon guided and the variance of the conditional half."""
    tree = msgspec.to_builtins(jobs.find("table1/R1", "smoke").run)
    tree["diffusion"] |= {"timesteps": 40, "data_scale": 0.5}
    tree["sampling"] |= {"guidance": 2.0, "labels": "balanced", "sampler": {"kind": "ancestral", "steps": 4}}
    run = msgspec.convert(tree, Run)
    keys, side = keys_of(run), run.data.resolution
    labels, network = torch.tensor([number % 9 for number in NUMBERS]), BentWithVariance()

    def guided(x: Tensor, t: Tensor) -> Tensor:
        with_class, without = network(x, t, labels), network(x, t, torch.full_like(labels, 9))
        epsilon = without[:, :3] + 2.0 * (with_class - without)[:, :3]
        return torch.cat([epsilon, with_class[:, 3:]], dim=1)

    start = normals(keys, 0, (3, side, side))
    chain = GaussianDiffusion(40, 4, data_scale=0.5)
    expected = to_uint8(chain.sample(guided, start, lambda step: normals(keys, 16 + step, (3, side, side))))
    images, _ = Drawer(run, network, torch.device("cpu"), lambda: None)(NUMBERS)
    assert torch.equal(images, expected)
    assert ((images > 0) & (images < 255)).double().mean() > 0.5, "most are neither black nor white"


@pytest.mark.parametrize(("training", "sampling", "narrow"), [
    ("bfloat16", None, True), ("bfloat16", "float32", False), ("float32", "bfloat16", True), ("float32", None, False),
])  # fmt: skip
def test_the_network_is_called_in_the_precision_asked_for(training: str, sampling: str | None, narrow: bool) -> None:
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    tree["training"]["precision"] = training
    tree["sampling"] |= {"sampler": {"kind": "euler", "steps": 1}} | ({"precision": sampling} if sampling else {})
    told: list[bool] = []

    class Told(Nothing):
        def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor, **_: Tensor) -> Tensor:
            told.append(torch.is_autocast_enabled("cpu"))
            assert x.dtype == torch.float32, "the solver's state stays wide"
            return torch.zeros_like(x)

    Drawer(msgspec.convert(tree, Run), Told(), torch.device("cpu"), lambda: None)([0])
    assert told == [narrow]


def test_samples_of_nan_are_refused_by_their_numbers() -> None:
    class Broken(Nothing):
        def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor, **_: Tensor) -> Tensor:
            out = torch.zeros_like(x)
            out[1:3, 0, 0, 0] = torch.nan
            return out

    run = run_with(sampler={"kind": "euler", "steps": 1})
    with pytest.raises(RunError, match="hold NaN") as caught:
        Drawer(run, Broken(), torch.device("cpu"), lambda: None)([4, 6, 9, 10])
    assert caught.value.found == "2 of 4 samples drawn at once, the first is number 6"
