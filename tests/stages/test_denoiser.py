"""What a run says of its sampling reaches the solver."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from hdit_repro import jobs
from hdit_repro.samplers import SAMPLERS, karras_sigmas
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer


def run_with(**sampling: Any) -> Run:
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
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


def test_deterministic_solvers_get_neither_noise_nor_eta(seen: dict[str, Any]) -> None:
    draw(run_with(sampler={"kind": "heun", "steps": 3}), [0])
    assert seen.keys() == {"name", "x", "sigmas"}


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
