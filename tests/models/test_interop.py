"""Released files: defaults as k-diffusion fills them in, and errors that name the key or the tensor."""

import builtins
import errno
import json
import math
import shutil

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.models import build, load_dit, load_k_diffusion
from hdit_repro.models.export import k_diffusion_config
from hdit_repro.models.interop import to_k_diffusion
from hdit_repro.models.released import configuration, k_diffusion_sigmas, read_dit, read_k_diffusion
from hdit_repro.spec import model as spec
from hdit_repro.spec.evaluation import DatasetReference

LEAST = {
    "type": "image_transformer_v2",
    "input_channels": 3,
    "input_size": [64, 64],
    "patch_size": [4, 4],
    "depths": [2, 2, 4],
    "widths": [128, 256, 512],
}


def write(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def read(folder, **model):
    config = {"model": {key: value for key, value in {**LEAST, **model}.items() if value is not ...}}
    return read_k_diffusion(write(folder, config))


def test_defaults_are_k_diffusions(tmp_path):
    found = read(tmp_path, input_size=[128, 128])
    local = spec.NeighborhoodAttention(kernel=7)
    assert found == spec.Hourglass(
        resolution=128,
        patch=4,
        widths=(128, 256, 512),
        depths=(2, 2, 4),
        heads=(2, 4, 8),
        attention=(local, local, spec.GlobalAttention()),
        mapping=spec.Mapping(depth=2, width=256, d_ff=768),
        dropout=(0.0, 0.0, 0.0),
        d_ffs=(384, 768, 1536),
    )


def test_defaults_of_attention_and_noise_levels_are_k_diffusions(tmp_path):
    bare = [{"type": "neighborhood"}, {"type": "shifted-window", "window_size": 4}, {"type": "global"}]
    assert read(tmp_path, self_attns=bare, sigma_min=0.03, sigma_max=70).heads == (2, 4, 8)
    found = k_diffusion_sigmas(configuration(tmp_path / "config.json"), tmp_path / "config.json")
    assert found == {"sigma_data": 1.0, "sigma_min": 0.03, "sigma_max": 70.0}


@pytest.mark.parametrize("said", [{}, {"sigma_min": 0.01}, {"sigma_max": 160}])
def test_ends_of_sampling_have_no_default(tmp_path, said):
    """The released code asks the configuration for both, and fails where one is missing."""
    read(tmp_path, **said)
    with pytest.raises(UserError, match="between which noise levels"):
        k_diffusion_sigmas(configuration(tmp_path / "config.json"), tmp_path / "config.json")


@pytest.mark.parametrize(
    "said",
    [{"sigma_min": 0}, {"sigma_min": 200}, {"sigma_max": math.inf}, {"sigma_min": math.nan}, {"sigma_data": 0}],
)
def test_noise_levels_that_cannot_be_are_refused_by_the_configurations_name(tmp_path, said):
    """The import told them as data that do not fit, or as a fault of the job file that it had written."""
    read(tmp_path, **{"sigma_min": 0.01, "sigma_max": 160, **said})
    with pytest.raises(UserError, match="nothing can be drawn") as caught:
        k_diffusion_sigmas(configuration(tmp_path / "config.json"), tmp_path / "config.json")
    assert f"config.json: sigma_min {said.get('sigma_min', 0.01)}" in caught.value.found


def test_what_is_written_is_read(tmp_path):
    found = read(
        tmp_path,
        input_channels=1,
        input_size=[64, 32],
        patch_size=[2, 1],
        depths=[1, 3],
        widths=[36, 64],
        self_attns=[{"type": "none"}, {"type": "shifted-window", "d_head": 16, "window_size": 4}],
        d_ffs=[100, 70],
        dropout_rate=0.05,
        mapping_width=48,
        mapping_depth=1,
        mapping_dropout_rate=0.1,
        mapping_cond_dim=5,
    )
    assert (found.patch, found.heads, found.channels, found.mapping_cond) == ((2, 1), (1, 4), 1, 5)
    assert found.resolution == 64
    assert found.attention == (spec.NoAttention(), spec.ShiftedWindowAttention(window=4))
    assert found.mapping == spec.Mapping(depth=1, width=48, d_ff=144, dropout=0.1)
    assert (found.d_ffs, found.dropout) == ((100, 70), (0.05, 0.05))
    out = build(found)(torch.randn(1, 1, 64, 32), torch.ones(1), mapping_cond=torch.zeros(1, 5))
    assert out.shape == (1, 1, 64, 32)


def test_sections_on_training_do_not_matter(tmp_path):
    config = {
        "model": {
            **LEAST,
            "augment_prob": 0.12,
            "augment_wrapper": False,
            "has_variance": False,
            "skip_stages": 0,
            "loss_scales": 1,
            "sigma_sample_density": {"type": "cosine-interpolated"},
        },
        "dataset": {"type": "huggingface", "location": "flowers", "image_key": "image", "num_classes": 102},
        "optimizer": {"type": "adamw", "lr": 5e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 1e-3},
        "lr_sched": {"type": "constant", "warmup": 0.0},
        "ema_sched": {"type": "inverse", "power": 0.75, "max_value": 0.9999},
        "_facts": {"anything": 1},
        "source": "somewhere",
    }
    config["model"]["input_size"] = [128, 128]
    assert read_k_diffusion(write(tmp_path, config)).classes == 102


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": {**LEAST, "mapping_widht": 3}}, ["'model.mapping_widht'", "did you mean 'model.mapping_width'"]),
        ({"model": LEAST, "dataset": {"num_clases": 3}}, ["'dataset.num_clases'", "'dataset.num_classes'"]),
        ({"model": LEAST, "notes": 3}, ["'notes'"]),
        ({"model": {**LEAST, "source": "x"}}, ["'model.source'"]),
        ({"model": {**LEAST, "self_attns": [{"type": "global", "kernel_size": 3}]}}, ["kernel_size"]),
        ({"model": {**LEAST, "self_attns": [{"type": "swin"}]}}, ["swin"]),
        ({"model": {**LEAST, "type": "image_v1"}}, ["image_v1"]),
        ({"model": {**LEAST, "widths": "wide"}}, ["widths"]),
        ({"model": {**LEAST, "has_variance": True}}, ["has_variance"]),
        ({"model": {**LEAST, "skip_stages": 1}}, ["skip_stages"]),
        ({"model": {**LEAST, "ffn_down_bias": True}}, ["ffn_down_bias"]),
        ({"model": {**LEAST, "depths": [2]}}, ["depths names 1 levels and widths 3"]),
        ({"model": {**LEAST, "self_attns": [{"type": "global"}]}}, ["self_attns names 1 levels"]),
        ({"model": {**LEAST, "input_size": [60, 60]}}, ["60 x 60", "16 x 16"]),
        ({"model": {**LEAST, "input_size": [16, 16]}}, ["16 x 16", "56 x 56 (kernel 7 of attention[1])"]),
        ({"model": {**LEAST, "widths": [128, 250, 512]}}, ["width 250 is no multiple of d_head 64"]),
        ({"model": {**LEAST, "input_channels": -1}}, ["sizes start at 1"]),
        ({"model": LEAST, "dataset": {"num_classes": -1}}, ["classes start at 0"]),
        ({}, ["model"]),
        ([], ["a JSON object"]),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, config, words):
    with pytest.raises(UserError) as caught:
        read_k_diffusion(write(tmp_path, config))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.fixture
def files(tmp_path, dit_reference):
    """A copy of the DiT's files to spoil."""
    shutil.copy(dit_reference.config_path, tmp_path / "config.json")
    return tmp_path / "config.json", tmp_path / "weights.safetensors", load_file(dit_reference.weights_path)


def spoil(change):
    def apply(tensors):
        tensors = dict(tensors)
        change(tensors)
        return tensors

    return apply


def test_weights_or_a_folder_for_a_configuration_are_nothing_to_delete(tmp_path):
    weights = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(2)}, weights)
    for wrong in (weights, tmp_path):
        with pytest.raises(UserError, match="no configuration") as caught:
            load_k_diffusion(wrong, weights)
        assert "delete" not in str(caught.value)
    with pytest.raises(UserError, match="missing"):
        load_k_diffusion(tmp_path / "config.json", weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil(lambda t: t.pop("blocks.1.mlp.fc1.bias")), ["lack the tensor 'blocks.1.mlp.fc1.bias'", "(192,)"]),
        (spoil(lambda t: t.update(extra=torch.zeros(2))), ["no place for: 'extra'", "(2,)"]),
        (
            spoil(lambda t: t.update({"final_layer.linear.bias": torch.zeros(48)})),
            ["'final_layer.linear.bias'", "(48,)", "(96,)"],
        ),
        (
            spoil(lambda t: t.update({"final_layer.linear.bias": torch.zeros(96, dtype=torch.int64)})),
            ["'final_layer.linear.bias'", "torch.int64"],
        ),
        (spoil(lambda t: t.update(pos_embed=t["pos_embed"].flip(1).contiguous())), ["pos_embed", "4 x 4 grid"]),
        (spoil(lambda t: t.update(pos_embed=t["pos_embed"] * torch.nan)), ["pos_embed"]),
    ],
)
def test_wrong_weights_are_refused(files, change, words):
    config, weights, tensors = files
    save_file(change(tensors), weights)
    with pytest.raises(UserError) as caught:
        load_dit(config, weights)
    assert all(word in str(caught.value) for word in [*words, str(weights)]), str(caught.value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e39])
def test_weights_that_are_no_finite_numbers_are_refused(files, value):
    """1e39 is a number in float64, and infinite in float32."""
    config, weights, tensors = files
    tensors["x_embedder.proj.bias"] = tensors["x_embedder.proj.bias"].double().index_fill(0, torch.arange(2), value)
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"'x_embedder.proj.bias' holds what is no finite number") as caught:
        load_dit(config, weights)
    assert caught.value.found == f"{weights}: 2 of 48 values"


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_names_behind_a_wrappers_are_told_how_to_come_off(files, wrapper):
    """DistributedDataParallel and torch.compile leave their own name before every other."""
    config, weights, tensors = files
    save_file({f"{wrapper}{name}": tensor for name, tensor in tensors.items()}, weights)
    with pytest.raises(UserError, match="lack the tensor") as caught:
        load_dit(config, weights)
    held = {"weights": load_file(weights)}
    save_file(eval(caught.value.fix.removeprefix("save ").removesuffix(", and take that"), held), weights)
    load_dit(config, weights)
    save_file({f"blocks.{name}": tensor for name, tensor in tensors.items()} | {"x": torch.zeros(1)}, weights)
    with pytest.raises(UserError, match="lack the tensor") as caught:
        load_dit(config, weights)
    assert "belong to this configuration" in caught.value.fix


def test_damaged_and_missing_weights_are_named(files):
    config, weights, _ = files
    with pytest.raises(UserError, match="missing") as caught:
        load_dit(config, weights)
    assert str(weights) in str(caught.value)
    weights.write_bytes(b"no tensors here")
    with pytest.raises(UserError, match="damaged"):
        load_dit(str(config), str(weights))


def test_weights_that_may_not_be_read_are_not_said_to_be_missing(files, monkeypatch):
    config, weights, tensors = files
    save_file(tensors, weights)
    allowed = builtins.open

    def refuse(path, *others, **how):
        if path == weights:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *others, **how)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError):
        load_dit(config, weights)


def test_other_precisions_are_read_as_float32(files):
    config, weights, tensors = files
    save_file({name: each if name == "pos_embed" else each.half() for name, each in tensors.items()}, weights)
    assert {each.dtype for each in load_dit(config, weights).state_dict().values()} == {torch.float32}


def test_dit_defaults_are_the_released_codes(tmp_path):
    assert read_dit(write(tmp_path, {"model": {}})) == spec.DiT(
        resolution=32, patch=2, width=1152, depth=28, heads=16, classes=1000, channels=4
    )
    with pytest.raises(UserError, match="hiden_size"):
        read_dit(write(tmp_path, {"model": {"hiden_size": 3}}))
    with pytest.raises(UserError, match="describes no network"):
        read_dit(write(tmp_path, {"model": {"hidden_size": 90}}))


@pytest.mark.parametrize("key", ["hidden_size", "in_channels", "num_classes", "depth", "mlp_ratio", "patch_size"])
def test_sizes_that_torch_cannot_hold_are_refused_when_the_configuration_is_read(tmp_path, key):
    """Building such a network ended in torch's own words on overflowing storage."""
    with pytest.raises(UserError, match=r"sizes of a network end at 16777216|at most 65535 pixels"):
        read_dit(write(tmp_path, {"model": {key: 2**31, **({"input_size": 2**31} if key == "patch_size" else {})}}))


def test_what_a_dits_configuration_says_is_read(tmp_path):
    said = {
        "input_size": 16, "patch_size": 4, "in_channels": 3, "hidden_size": 64, "depth": 3, "num_heads": 8,
        "mlp_ratio": 2.5, "class_dropout_prob": 0.0, "num_classes": 7, "learn_sigma": False,
    }  # fmt: skip
    assert read_dit(write(tmp_path, {"model": said})) == spec.DiT(
        resolution=16, patch=4, channels=3, width=64, depth=3, heads=8, ratio=2.5, class_dropout=0.0, classes=7,
        learn_sigma=False,
    )  # fmt: skip


def test_a_configuration_goes_out_as_it_came_in(tmp_path):
    """Each key that concerns network, preconditioner and noise levels, at a value that is no default."""
    config = {
        "model": {
            "type": "image_transformer_v2",
            "input_channels": 3,
            "input_size": [64, 64],
            "patch_size": [2, 1],
            "depths": [1, 2, 1],
            "widths": [16, 24, 48],
            "d_ffs": [50, 31, 90],
            "self_attns": [
                {"type": "neighborhood", "d_head": 8, "kernel_size": 5},
                {"type": "shifted-window", "d_head": 24, "window_size": 4},
                {"type": "global", "d_head": 24},
            ],
            "dropout_rate": [0.0, 0.1, 0.2],
            "mapping_width": 20,
            "mapping_depth": 3,
            "mapping_d_ff": 44,
            "mapping_cond_dim": 0,
            "mapping_dropout_rate": 0.1,
            "sigma_data": 0.7,
            "sigma_min": 0.02,
            "sigma_max": 90.0,
        },
        "dataset": {"type": "imagefolder", "location": "", "num_classes": 1000},
    }
    run = jobs.find("table1/E").run
    run = msgspec.structs.replace(
        run,
        model=read_k_diffusion(write(tmp_path, config)),
        data=msgspec.structs.replace(run.data, resolution=64),
        evaluation=msgspec.structs.replace(run.evaluation, reference=DatasetReference()),
        diffusion=msgspec.structs.replace(run.diffusion, sigma_data=0.7),
        sampling=msgspec.structs.replace(run.sampling, sigma_min=0.02, sigma_max=90.0),
    )
    assert k_diffusion_config(run) == config


def test_a_network_of_ours_goes_out_and_comes_back(tmp_path, awaken):
    """Five levels, no classes, a head width and d_ff a level, non-square patches and image."""
    config = {
        "model": {
            **LEAST,
            "input_size": [64, 32],
            "patch_size": [2, 1],
            "depths": [1, 2, 1, 1, 1],
            "widths": [16, 24, 16, 32, 48],
            "d_ffs": [50, 31, 40, 7, 90],
            "self_attns": [
                {"type": "neighborhood", "d_head": 8, "kernel_size": 5},
                {"type": "shifted-window", "d_head": 24, "window_size": 4},
                {"type": "none"},
                {"type": "neighborhood", "d_head": 16, "kernel_size": 3},
                {"type": "global", "d_head": 24},
            ],
            "mapping_width": 20,
            "dropout_rate": [0.0, 0.1, 0.0, 0.2, 0.1],
            "mapping_dropout_rate": 0.1,
        }
    }
    path, weights = write(tmp_path, config), tmp_path / "weights.safetensors"
    network = awaken(build(read_k_diffusion(path))).eval()
    save_file(to_k_diffusion(network.state_dict()), weights)
    back = load_k_diffusion(path, weights)
    x, sigma = torch.randn(2, 3, 64, 32), torch.tensor([0.1, 5.0])
    assert torch.equal(back(x, sigma), network(x, sigma))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mapping": spec.Mapping(depth=1, width=768, d_ff=2304, activation="gelu")}, "'activation': 'gelu'"),
        ({"norm": spec.DiTLayerNorm()}, "dit-layer-norm"),
        ({"gate": spec.DiTGate()}, "'dit'"),
    ],
)
def test_a_network_that_k_diffusion_has_not_is_not_written_for_it(change, named):
    run = jobs.find("table1/E").run
    assert k_diffusion_config(run)["model"]["mapping_d_ff"] == 2304
    with pytest.raises(UserError) as caught:
        k_diffusion_config(msgspec.structs.replace(run, model=msgspec.structs.replace(run.model, **change)))
    assert caught.value.found.count(", there ") == 1
    assert named in caught.value.found
    assert "--to safetensors" in caught.value.fix
