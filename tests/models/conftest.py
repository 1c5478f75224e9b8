"""Small networks and the released code's numbers, shared by the tests of models/."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hdit_repro.spec import model as spec

REFERENCE = Path(__file__).parents[1] / "reference"
HOURGLASSES = ("global", "neighborhood", "shifted-window", "shifted-window-odd", "mapping-cond")


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


class Reference:
    """One folder of numbers: config, weights, and what went in and came out."""

    def __init__(self, name: str) -> None:
        folder = REFERENCE / name
        self.config_path, self.weights_path = folder / "config.json", folder / "weights.safetensors"
        self.config = json.loads(self.config_path.read_text())
        self.facts = self.config["_facts"]
        self.io = load_file(folder / "io.safetensors")

    def conditions(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What goes in beside x and sigma, floating-point values in `dtype`."""
        found = {name: self.io[name] for name in ("class_cond", "aug_cond", "mapping_cond") if name in self.io}
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in found.items()}


@pytest.fixture(params=HOURGLASSES)
def reference(request: pytest.FixtureRequest) -> Reference:
    return Reference(f"hdit-{request.param}")


@pytest.fixture
def dit_reference() -> Reference:
    return Reference("dit")


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Relative error in the Euclidean norm."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def awakened(network: nn.Module, seed: int = 1) -> nn.Module:
    """Move every parameter off its start, zeros included, so that every branch speaks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network


SMALL = spec.Hourglass(
    resolution=16,
    patch=2,
    widths=(16, 32),
    depths=(2, 1),
    heads=(2, 2),
    attention=(spec.NeighborhoodAttention(kernel=3), spec.GlobalAttention()),
    mapping=spec.Mapping(depth=1, width=16, d_ff=32),
    classes=4,
)
SMALL_DIT = spec.DiT(resolution=8, patch=2, width=16, depth=2, heads=2, classes=4, learn_sigma=False)


def varied(**changes: object) -> spec.Hourglass:
    """A small hourglass with some fields changed (checked as when it is read)."""
    return msgspec.convert({**msgspec.to_builtins(SMALL), **msgspec.to_builtins(changes)}, spec.Hourglass)


VARIANTS = {
    "as the paper's": SMALL,
    "no classes": varied(classes=0),
    "no augmentation": varied(augmentation_cond=0),
    "further condition": varied(mapping_cond=3),
    "shifted window": varied(attention=(spec.ShiftedWindowAttention(window=4), spec.GlobalAttention())),
    "no attention": varied(attention=(spec.NoAttention(), spec.GlobalAttention())),
    "dot product": varied(similarity=spec.DotProduct()),
    "learned positions": varied(position=spec.LearnedPosition()),
    "sin-cos positions": varied(position=spec.SinCosPosition()),
    "GELU": varied(feed_forward=spec.GELU()),
    "layer norm": varied(norm=spec.AdaLayerNorm()),
    "gate": varied(gate=spec.MappingGate()),
    "DiT's norm": varied(norm=spec.DiTLayerNorm()),
    "DiT's norm and gate": varied(norm=spec.DiTLayerNorm(), gate=spec.DiTGate(), feed_forward=spec.GELU()),
    "GELU in the mapping": varied(mapping=spec.Mapping(depth=2, width=16, d_ff=32, activation="gelu")),
    "added skip": varied(skip=spec.AddSkip()),
    "concatenated skip": varied(skip=spec.ConcatSkip()),
    "odd hidden widths": varied(d_ffs=(37, 41)),
    "one level": varied(widths=(16,), depths=(2,), heads=(2,), attention=(spec.GlobalAttention(),)),
    "five levels": varied(
        resolution=64,
        widths=(8, 8, 16, 16, 16),
        depths=(1, 1, 1, 1, 1),
        heads=(1, 1, 2, 1, 2),
        attention=(*(spec.NeighborhoodAttention(kernel=3),) * 4, spec.GlobalAttention()),
    ),
}


def call_of(
    network: spec.Hourglass, batch: int = 2, seed: int = 3, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Arguments of a call of a hourglass, all conditions that it takes included."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    call = {"x": noise(batch, network.channels, network.resolution, network.resolution), "sigma": noise(batch).exp()}
    if network.classes:
        call["class_cond"] = torch.arange(batch) % (network.classes + 1)
    if network.augmentation_cond:
        call["aug_cond"] = noise(batch, network.augmentation_cond)
    if network.mapping_cond:
        call["mapping_cond"] = noise(batch, network.mapping_cond)
    return call


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> spec.Hourglass:
    """Every ablation point of the hourglass, one at a time."""
    return VARIANTS[request.param]


@pytest.fixture
def variants() -> list[spec.Hourglass]:
    return list(VARIANTS.values())


@pytest.fixture
def small() -> spec.Hourglass:
    return SMALL


@pytest.fixture
def small_dit() -> spec.DiT:
    return SMALL_DIT


@pytest.fixture
def vary() -> Callable[..., spec.Hourglass]:
    return varied


@pytest.fixture
def error() -> Callable[[Tensor, Tensor], float]:
    return relative_error


@pytest.fixture
def awaken() -> Callable[..., nn.Module]:
    return awakened


@pytest.fixture
def inputs() -> Callable[..., dict[str, Tensor]]:
    return call_of
