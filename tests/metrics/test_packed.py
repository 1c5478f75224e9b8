"""Convolutions with their weights in the CPU's own order: torch's convolution, wherever they can run and where not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hdit_repro.metrics.extractors import packed
from hdit_repro.metrics.extractors.packed import Convolution, packs

LAYERS = {
    "square": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2},
    "wide": {"kernel_size": (1, 7), "padding": (0, 3)},
    "depthwise": {"kernel_size": 5, "padding": 2, "groups": 8},
    "dilated": {"kernel_size": 3, "dilation": 2},
    "pointwise": {"kernel_size": 1},
}


@pytest.fixture(autouse=True)
def forgotten():
    """What was found of this machine is found anew in each test."""
    packs.cache_clear()
    yield
    packs.cache_clear()


def made(kind):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, **LAYERS[kind]).requires_grad_(False)
    return layer.to(memory_format=torch.channels_last)


def seen(*shape):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return images.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("relu", [True, False])
def test_it_is_torchs_convolution_for_every_shape(kind, relu):
    layer = made(kind)
    convolution = Convolution(layer, relu)
    for shape in ((4, 8, 17, 17), (1, 8, 17, 17), (3, 8, 9, 12)):  # weights are packed for the first
        wanted = layer(seen(*shape))
        found = convolution(seen(*shape))
        assert torch.allclose(found, F.relu(wanted) if relu else wanted, atol=1e-5)
        assert bool((found < 0).any()) is not relu
    assert (convolution._packed is not None) == packs("cpu", torch.float32)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch carries no oneDNN")
def test_where_it_packs():
    assert packs("cpu", torch.float32)
    assert packs("cpu", torch.bfloat16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert not packs("cpu", torch.float64)
    assert not packs("cpu", torch.float16)
    for device in ("cuda", "mps", "meta"):
        assert not packs(device, torch.float32)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch carries no oneDNN")
@pytest.mark.parametrize("lacking", ["oneDNN", "_reorder_convolution_weight", "_convolution_pointwise", "bfloat16"])
def test_what_is_lacking_is_gone_without(monkeypatch, lacking):
    """Other builds and machines take torch's own way: the same numbers, nothing packed."""

    class Operators:
        def __getattr__(self, name):
            if name == lacking:
                raise AttributeError(name)
            return (lambda: False) if name == "_is_mkldnn_bf16_supported" else getattr(torch.ops.mkldnn, name)

    class Ops:
        mkldnn = Operators()

    class Torch:
        ops = Ops()

        def __getattr__(self, name):
            return getattr(torch, name)

    if lacking == "oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:
        monkeypatch.setattr(packed, "torch", Torch())
    assert packs("cpu", torch.float32) == (lacking == "bfloat16")
    assert not packs("cpu", torch.bfloat16)
    layer = made("square")
    convolution = Convolution(layer, relu=True)
    found = convolution(seen(2, 8, 9, 9))
    assert torch.allclose(found, F.relu(layer(seen(2, 8, 9, 9))), atol=1e-5)
    assert (convolution._packed is None) == (lacking != "bfloat16")
