"""Optimiser groups: nothing left out, nothing twice, and the rates of the ablation points."""

import msgspec
import pytest
import torch

from hdit_repro.models import build, parameter_groups
from hdit_repro.models.groups import GROUPS
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kinds
from hdit_repro.spec.training import AdamW, KDiffusionGroups, ParameterGroups, UniformGroups

GELU_MAPPING = spec.Mapping(depth=1, width=16, d_ff=32, activation="gelu")


def adamw(groups):
    return AdamW(learning_rate=1e-3, betas=(0.9, 0.99), weight_decay=0.1, groups=groups)


def test_every_kind_of_the_spec_is_there():
    assert tuple(GROUPS) == kinds(ParameterGroups)


@pytest.mark.parametrize("groups", [UniformGroups(), KDiffusionGroups(mapping_rate=0.25)])
def test_every_parameter_is_in_one_group(variant, small_dit, groups):
    for each in (variant, small_dit):
        network = build(each)
        found = parameter_groups(network, adamw(groups))
        inside = [id(parameter) for group in found for parameter in group["params"]]
        assert sorted(inside) == sorted(id(parameter) for parameter in network.parameters())
        assert all(group["params"] for group in found)
        torch.optim.AdamW(found, betas=(0.9, 0.99))


def placed(network, name, groups):
    """The rate and decay of a parameter."""
    parameter = network.get_parameter(name)
    for group in parameter_groups(network, adamw(groups)):
        if any(parameter is each for each in group["params"]):
            return group["lr"], group["weight_decay"]
    raise AssertionError(name)


def test_uniform_is_one_group(small):
    assert placed(build(small), "out_norm.scale", UniformGroups()) == (1e-3, 0.1)


@pytest.mark.parametrize(
    ("change", "name", "slow", "decays"),
    [
        ({"gate": spec.MappingGate()}, "mid_level.0.ff.gate.linear.weight", True, True),
        ({"norm": spec.AdaLayerNorm()}, "mid_level.0.ff.norm.linear.weight", True, True),
        ({"norm": spec.DiTLayerNorm()}, "mid_level.0.ff.norm.linear.weight", True, True),
        ({"norm": spec.DiTLayerNorm()}, "mid_level.0.self_attn.norm.linear.bias", True, False),
        ({"gate": spec.DiTGate()}, "mid_level.0.self_attn.gate.linear.weight", True, True),
        ({"gate": spec.DiTGate()}, "mid_level.0.ff.gate.linear.bias", True, False),
        ({"mapping": GELU_MAPPING}, "mapping.blocks.0.up_proj.weight", True, True),
        ({"position": spec.LearnedPosition()}, "position.weight", False, False),
        ({"skip": spec.ConcatSkip()}, "splits.0.join.proj.weight", False, True),
        ({"feed_forward": spec.GELU()}, "mid_level.0.ff.up_proj.weight", False, True),
        ({"mapping_cond": 3}, "mapping_cond_in_proj.weight", False, False),
    ],
)
def test_ablation_points_have_their_place(vary, change, name, slow, decays):
    expected = (2.5e-4 if slow else 1e-3, 0.1 if decays else 0.0)
    assert placed(build(vary(**change)), name, KDiffusionGroups(mapping_rate=0.25)) == expected


@pytest.mark.parametrize(
    ("name", "slow", "decays"),
    [
        ("blocks.0.attn.qkv.weight", False, True),
        ("blocks.0.attn.qkv.bias", False, False),
        ("x_embedder.proj.weight", False, True),
        ("y_embedder.embedding_table.weight", False, False),
        ("t_embedder.mlp.0.weight", True, True),
        ("blocks.1.adaLN_modulation.1.bias", True, False),
        ("final_layer.adaLN_modulation.1.weight", True, True),
    ],
)
def test_dit_in_the_released_hourglass_groups(small_dit, name, slow, decays):
    network = build(msgspec.structs.replace(small_dit, learn_sigma=True))
    expected = (2.5e-4 if slow else 1e-3, 0.1 if decays else 0.0)
    assert placed(network, name, KDiffusionGroups(mapping_rate=0.25)) == expected
