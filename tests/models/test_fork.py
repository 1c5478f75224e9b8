"""Networks of the third author's fork: what its code gave (in float64) for small networks of each of its parts."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hdit_repro.cost import count
from hdit_repro.errors import UserError
from hdit_repro.models import load_k_diffusion, parameter_groups
from hdit_repro.models.fork import as_released
from hdit_repro.models.positions import sin_cos
from hdit_repro.models.released import configuration, read_k_diffusion
from hdit_repro.spec.training import AdamW
from hdit_repro.stages.exchange import read_released

FORK = Path(__file__).parents[1] / "reference" / "fork"
NETWORKS = sorted(folder.name for folder in FORK.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NETWORKS)
def test_output_and_count(name, error):
    network = load_k_diffusion(FORK / name / "config.json", FORK / name / "weights.safetensors")
    io = load_file(FORK / name / "io.safetensors")
    with torch.no_grad():
        found = network.double()(
            io["x"].double(), io["sigma"].double(), class_cond=io["class_cond"], aug_cond=io["aug_cond"].double()
        )
    assert error(found, io["output"]) < 1e-6
    facts = json.loads((FORK / name / "config.json").read_text())["_facts"]
    assert sum(each.numel() for each in network.parameters()) == facts["parameters"]
    assert count(read_k_diffusion(FORK / name / "config.json"), 16).parameters == facts["parameters"]


@pytest.mark.parametrize("name", NETWORKS)
def test_optimiser_groups_have_as_many_parameters_as_its_own(name):
    network = load_k_diffusion(FORK / name / "config.json", FORK / name / "weights.safetensors")
    found = parameter_groups(network, AdamW(learning_rate=5e-4, betas=(0.9, 0.95), weight_decay=1e-2))
    wanted = json.loads((FORK / name / "config.json").read_text())["_facts"]["param_groups"]
    assert [sum(each.numel() for each in group["params"]) for group in found] == [w["parameters"] for w in wanted]
    assert [group["lr"] for group in found] == pytest.approx([w["lr"] for w in wanted])
    assert [group["weight_decay"] for group in found] == [1e-2 if w["weight_decay"] == "default" else 0 for w in wanted]


def test_all_of_its_parts_are_there():
    models = [json.loads((FORK / name / "config.json").read_text())["model"] for name in NETWORKS]
    found = {key: {model[key] for model in models} for key in ("up_proj_act", "pos_emb_type", "norm_type")}
    assert found == {
        "up_proj_act": {"GELU", "GEGLU"},
        "pos_emb_type": {"ROPE", "additive"},
        "norm_type": {"AdaRMS", "AdaLN", "AdaLNGateless"},
    }
    assert {model["backbone_skip_type"] for model in models} == {"learned_lerp", "add", "concat"}


def test_a_layer_that_is_kept_twice_is_one(tmp_path):
    """safetensors keeps one of two names of a tensor, torch's own files both."""
    folder = FORK / "rope-gelu-lerp-adaln"
    whole = load_file(folder / "weights.safetensors")
    again = {name.replace(".norm_scale.linear.", ".norm_scale.mod.1."): value for name, value in whole.items()}
    for tensors in (again, {**whole, **again}):
        save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "w.safetensors")
        network = load_k_diffusion(folder / "config.json", tmp_path / "w.safetensors")
        linear = whole["mid_level.0.ff.norm_scale.linear.weight"]
        shift, scale, gate = linear.chunk(3)
        assert torch.equal(network.mid_level[0].ff.norm.linear.weight, torch.cat((scale, shift)))
        assert torch.equal(network.mid_level[0].ff.gate.linear.weight, gate)
        assert len(shift) == 32


def test_positions_that_moved_are_refused(tmp_path):
    folder = FORK / "additive-gelu-concat"
    tensors = load_file(folder / "weights.safetensors")
    for wrong in (tensors["pos_emb"] + 0.01, torch.zeros(3)):
        save_file({**tensors, "pos_emb": wrong.contiguous()}, tmp_path / "w.safetensors")
        with pytest.raises(UserError, match="pos_emb"):
            load_k_diffusion(folder / "config.json", tmp_path / "w.safetensors")


def test_positions_of_an_oblong_grid_lie_row_by_row(tmp_path):
    network = read_k_diffusion(FORK / "additive-gelu-concat" / "config.json")
    right = sin_cos(4, 6, network.widths[0])[None].float()
    assert not as_released({"pos_emb": right}, network, tmp_path)
    for wrong in (sin_cos(6, 4, network.widths[0])[None].float().reshape(right.shape), right.repeat(2, 1, 1, 1)):
        with pytest.raises(UserError, match="pos_emb"):
            as_released({"pos_emb": wrong}, network, tmp_path)


def test_remarks_and_last_commas_are_read_past(tmp_path):
    plain = json.loads((FORK / "rope-gelu-lerp-adaln" / "config.json").read_text())
    plain["dataset"]["location"] = "https://a//b, ]"
    text = json.dumps(plain, indent=1).replace('"model": {', '"model": { // "x": 1,', 1)
    text = text.replace("\n }", ",\n // the last\n }").replace("\n  ]", ",\n  ]")
    (tmp_path / "config.jsonc").write_text(text)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert configuration(tmp_path / "config.jsonc") == plain
    assert read_k_diffusion(tmp_path / "config.jsonc") == read_k_diffusion(
        FORK / "rope-gelu-lerp-adaln" / "config.json"
    )


def test_a_checkpoint_is_imported_with_its_commented_configuration(tmp_path):
    folder = FORK / "rope-gelu-lerp-adaln"
    (tmp_path / "c.jsonc").write_text("// forked\n" + (folder / "config.json").read_text())
    released = read_released("k-diffusion", folder / "weights.safetensors", tmp_path / "c.jsonc")
    assert released.model == read_k_diffusion(folder / "config.json")
    assert (released.diffusion, released.sampling) == ({"sigma_data": 0.5}, {"sigma_min": 0.01, "sigma_max": 160})


def test_a_bias_that_no_experiment_has_is_refused(tmp_path):
    config = json.loads((FORK / "rope-gelu-lerp-adaln" / "config.json").read_text())
    config["model"]["qkv_bias"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be read"):
        read_k_diffusion(tmp_path / "config.json")
