"""Every value of a run changes what is computed: the first weights, the steps, the averages or the samples."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from hdit_repro.data.datasets import open_dataset
from hdit_repro.data.images import Images
from hdit_repro.spec.data import Data
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import feed
from hdit_repro.training.loop import new_state
from hdit_repro.training.step import Stepper

TINY = Path(__file__).parents[1] / "training" / "tiny_run.json"

FOLLOWS = ("resolution", "classes", "channels", "mapping_cond", "augmentation_cond", "learn_sigma", "guidance", "rho")
"""What the data, the augmentation or the diffusion leave no choice of in one of the runs below."""

IDLE = ("model.class_dropout",)
"""Says that there is a class for dropped labels, and no more (`spec.model.DiT`)."""

LISTS: dict[str, Any] = {
    "growth": [{"steps": 1, "batch": 8}],
    "d_ffs": [24, 24],
    "attention": [{"kind": "neighborhood", "kernel": 5}, {"kind": "global"}],
}

WORDS = {"adm": "k-diffusion", "random": "balanced", "ema": "raw", "float32": "bfloat16", "bfloat16": "float32"}


def tree_of(**parts: Any) -> dict[str, Any]:
    """The tiny run, four steps long, with everything said that may be left open, and parts replaced."""
    tree: dict[str, Any] = json.loads(TINY.read_text())
    tree["model"] |= {"widths": [16, 16], "heads": [2, 2]}
    tree["training"] |= {"steps": 4, "batch": 4, "class_dropout": 0.3, "clip": 0.01}
    tree["sampling"] |= {"count": 2, "sigma_min": 0.01, "sigma_max": 160.0, "precision": "bfloat16"}
    tree["sampling"]["sampler"]["steps"] = 3
    for part, value in parts.items():
        tree[part] = {**tree[part], **value} if "kind" not in value else value
    return tree


DIT = {"kind": "dit", "resolution": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2, "classes": 9}
LOG = {**DIT, "learn_sigma": False, "class_dropout": 0.3, "time": {"kind": "log-sigma"}}
DDPM = tree_of(model={**DIT, "class_dropout": 0.3}, training={"augmentation": 0.0}, diffusion={"kind": "gaussian"})
DDPM["sampling"] = {"sampler": {"kind": "ancestral", "steps": 3}, "count": 2, "precision": "bfloat16"}
RUNS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "E": (tree_of(), ()),
    "log-sigma": (tree_of(model=LOG, training={"augmentation": 0.0}), ("model",)),
    "gaussian": (DDPM, ("model", "diffusion", "sampling")),
    **{
        kind: (tree_of(sampling={"sampler": {"kind": kind, "steps": 3, "eta": 1.0}}), ("sampling.sampler",))
        for kind in ("dpmpp_2m_sde", "dpmpp_2m_sde_heun")
    },
    **{
        kind: (tree_of(sampling={"sampler": {"kind": kind, "steps": 3}}), ("sampling.sampler",))
        for kind in ("dpmpp_2m", "heun", "euler")
    },
}
"""Runs by name, and which parts of them are gone through; none is all that can be computed here."""


def values(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from values(value, (*path, name))
        elif name != "kind":
            yield (*path, name), value


def others(name: str, value: Any) -> list[Any]:
    """Values that might stand in place of one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2, value + 8, max(1, value // 2)]
    if isinstance(value, float):
        return [0.9, 0.0, 0.5 * value, value + 0.25, 2.0]
    if isinstance(value, list) and value and not isinstance(value[0], dict):
        return [[other, *value[1:]] for other in others(name, value[0])]
    if name in LISTS:
        return [LISTS[name]]
    return [8.0] if value is None else [WORDS[value]] if value in WORDS else []


IMAGES: dict[Data, Images] = {}


def computed(run: Run) -> Iterator[list[torch.Tensor]]:
    """The weights at the start; at the end, with averages and moments; samples of a network that says something."""
    images = IMAGES.setdefault(run.data, open_dataset(run.data))
    state = new_state(run, torch.device("cpu"))
    yield [value.clone() for value in state.network.state_dict().values()]
    state.network.train()
    stepper = Stepper(run, state, World())
    for fed in feed(run, images, 0, min(run.training.total_steps, 5)):
        stepper(fed)
    yield [value.clone() for value in state.tensors().values()]
    drawn = state.ema.weights if run.sampling.weights == "ema" else dict(state.network.named_parameters())
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in state.network.named_parameters():
            parameter.copy_(drawn[name] + 0.1 * torch.randn(parameter.shape, generator=noise))
    samples, _ = Drawer(run, state.network.eval(), torch.device("cpu"), lambda: None)(range(run.sampling.count))
    yield [samples]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def differs(run: Run, before: list[list[torch.Tensor]]) -> bool:
    """Whether another run computes anything else; nothing is computed behind the first difference."""
    return not all(map(same, before, computed(run)))


@pytest.mark.parametrize("name", RUNS)
def test_every_value_changes_what_is_computed(name: str) -> None:
    tree, parts = RUNS[name]
    run = msgspec.convert(tree, Run)
    tree, before = json.loads(msgspec.json.encode(run)), list(computed(run))
    assert not differs(run, before)
    idle: list[str] = []
    stuck: list[str] = []
    for path, value in values(tree):
        dotted = ".".join(path)
        if path[0] == "evaluation" or (parts and not dotted.startswith(parts)) or dotted in IDLE:
            continue
        accepted = False
        for other in others(path[-1], value):
            changed = copy.deepcopy(tree)
            at = changed
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = other
            try:
                again = msgspec.convert(changed, Run)
            except msgspec.ValidationError:
                continue
            if again == run:
                continue
            accepted = True
            if differs(again, before):
                break
        else:
            (idle if accepted else stuck).append(dotted)
    assert idle == [], "values that are taken and change nothing"
    assert [dotted for dotted in stuck if dotted.rpartition(".")[2] not in FOLLOWS] == []
