"""The networks against the released code's numbers (computed there in float64 from float32 weights and inputs).

The released code computes the angles of local layers in float32 even then, and inputs were rounded when they were
stored, which alone moves outputs by 1e-7 to 1e-6. Scalars whose gradient is a difference of large terms
agree to 1e-5.
"""

import pytest
import torch

from hdit_repro.models import load_dit, load_k_diffusion, parameter_groups
from hdit_repro.models.interop import to_k_diffusion, to_k_diffusion_name
from hdit_repro.spec.training import AdamW


def load(reference):
    return load_k_diffusion(reference.config_path, reference.weights_path)


def preconditioned(network, x, sigma, sigma_data, conditions):
    """D(x, sigma) and F's output, by EDM's preconditioner (Karras et al., 2022, Table 1)."""
    s = sigma[:, None, None, None]
    total = s**2 + sigma_data**2
    output = network(x / total.sqrt(), sigma, **conditions)
    return sigma_data**2 / total * x + s * sigma_data / total.sqrt() * output, output


def test_output_and_denoiser(reference, error):
    network, io = load(reference), reference.io
    conditions = reference.conditions(torch.float32)
    with torch.no_grad():
        output = network(io["x"], io["sigma"], **conditions)
        sigma_data = reference.config["model"]["sigma_data"]
        denoised, _ = preconditioned(network, io["x"], io["sigma"], sigma_data, conditions)
    assert output.dtype == torch.float32
    assert error(output, io["inner_output"]) < 1e-5
    assert error(denoised, io["denoised"]) < 1e-5


def test_output_in_float64(reference, error):
    network, io = load(reference).double(), reference.io
    with torch.no_grad():
        output = network(io["x"].double(), io["sigma"].double(), **reference.conditions(torch.float64))
    assert output.dtype == torch.float64
    assert error(output, io["inner_output"]) < 1e-6


def test_losses_and_gradients_in_float64(reference, error):
    network, io = load(reference).double(), reference.io
    sigma_data = reference.config["model"]["sigma_data"]
    image, sigma = io["image"].double(), io["sigma"].double()
    s = sigma[:, None, None, None]
    noised = image + s * io["noise"].double()
    denoised, _ = preconditioned(network, noised, sigma, sigma_data, reference.conditions(torch.float64))
    c_out = s * sigma_data / (s**2 + sigma_data**2).sqrt()
    squared = (((denoised - image) / c_out) ** 2).mean(dim=(1, 2, 3))  # of F's error
    losses = {
        "karras": squared,
        "snr": squared * sigma_data**2 / (sigma**2 + sigma_data**2),
        "soft-min-snr": squared * (sigma * sigma_data) ** 2 / (sigma**2 + sigma_data**2) ** 2,
    }
    for name, loss in losses.items():
        assert error(loss.detach(), io[f"loss.{name}"]) < 1e-7

    losses["soft-min-snr"].mean().backward()
    expected = {name.removeprefix("grad."): value for name, value in io.items() if name.startswith("grad.")}
    found = {to_k_diffusion_name(name): each.grad for name, each in network.named_parameters()}
    assert len(expected) >= 14
    assert set(expected) <= set(found)
    assert max(error(found[name], value) for name, value in expected.items()) < 1e-5
    together = [torch.cat([each[name].double().flatten() for name in expected]) for each in (found, expected)]
    assert error(*together) < 2e-6


def test_parameters_and_optimiser_groups(reference):
    network = load(reference)
    assert sum(each.numel() for each in network.parameters()) == reference.facts["parameters"]

    groups = parameter_groups(network, AdamW(learning_rate=5e-4, betas=(0.9, 0.95), weight_decay=1e-2))
    names = {id(parameter): to_k_diffusion_name(name) for name, parameter in network.named_parameters()}
    expected = reference.facts["param_groups"]
    assert len(groups) == len(expected)
    for group, printed in zip(groups, expected, strict=True):
        assert sorted(names[id(parameter)] for parameter in group["params"]) == printed["names"]
        assert group["lr"] == pytest.approx(printed["lr"])
        assert group["weight_decay"] == (1e-2 if printed["weight_decay"] == "default" else 0)


def test_state_goes_back_under_the_released_names(reference):
    from safetensors.torch import load_file

    exported, stored = to_k_diffusion(load(reference).state_dict()), load_file(reference.weights_path)
    assert exported.keys() == stored.keys()
    assert all(torch.equal(exported[name], stored[name]) for name in stored)


def test_dit(dit_reference, error):
    network, io = load_dit(dit_reference.config_path, dit_reference.weights_path), dit_reference.io
    trainable = dit_reference.facts["parameters_trainable"]
    assert sum(each.numel() for each in network.parameters()) == trainable
    with torch.no_grad():
        assert error(network(io["x"], io["t"], io["y"]), io["output"]) < 1e-5
        output = network.double()(io["x"].double(), io["t"], io["y"])
    assert error(output, io["output"]) < 1e-7


def test_a_loaded_network_is_ready_to_use_and_to_train(reference):
    network = load(reference)
    assert not network.training
    assert all(each.requires_grad and each.dtype == torch.float32 for each in network.parameters())
    buffers = {name for name, _ in network.named_buffers()}
    assert {"time_emb.weight", "aug_emb.weight"} <= buffers
    assert any(name.endswith("freqs") for name in buffers)


def test_missing_augmentation_is_zeros(reference):
    network, io = load(reference), reference.io
    conditions = reference.conditions(torch.float32)
    zeros = {**conditions, "aug_cond": torch.zeros_like(conditions["aug_cond"])}
    without = {name: value for name, value in conditions.items() if name != "aug_cond"}
    with torch.no_grad():
        assert torch.equal(network(io["x"], io["sigma"], **zeros), network(io["x"], io["sigma"], **without))
