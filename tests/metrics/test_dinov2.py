"""DINOv2's network against a twin written with loops over heads, and its two variants."""

from __future__ import annotations

import math

import pytest
import torch

from hdit_repro.errors import UserError
from hdit_repro.metrics.extractors.dinov2 import DinoV2Features, Shape, VisionTransformer

SMALL = Shape(width=24, depth=2, heads=3, grid=5)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    network = VisionTransformer(SMALL)
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in network.state_dict().items()}


def norm(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def twin(state, image):
    """One image, 3 70 70, at the weights' own grid of positions."""
    kernel = state["patch_embed.proj.weight"].flatten(1)
    rows = [image[:, i : i + 14, j : j + 14].flatten() for i in range(0, 70, 14) for j in range(0, 70, 14)]
    tokens = torch.stack(rows) @ kernel.T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"][0], tokens]) + state["pos_embed"][0]
    for i in range(SMALL.depth):
        p = {name.removeprefix(f"blocks.{i}."): v for name, v in state.items() if name.startswith(f"blocks.{i}.")}
        qkv = norm(x, p["norm1.weight"], p["norm1.bias"]) @ p["attn.qkv.weight"].T + p["attn.qkv.bias"]
        q, k, v = qkv.split(SMALL.width, dim=-1)
        heads = []
        for h in range(SMALL.heads):
            part = slice(8 * h, 8 * h + 8)
            heads.append(torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(8), -1) @ v[:, part])
        x = x + p["ls1.gamma"] * (torch.cat(heads, -1) @ p["attn.proj.weight"].T + p["attn.proj.bias"])
        hidden = norm(x, p["norm2.weight"], p["norm2.bias"]) @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + p["ls2.gamma"] * (hidden @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"])
    return norm(x[0], state["norm.weight"], state["norm.bias"])


def test_the_network(state):
    network = VisionTransformer(SMALL).eval()
    network.load_state_dict(state)
    images = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(images)
    wanted = torch.stack([twin(state, image) for image in images])
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def cubic(t):
    """The weights of four neighbours at distance t from the second, a = -0.75."""
    a = -0.75

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(1 + t), near(t), near(1 - t), far(2 - t)]


def test_positions_are_resized_with_the_published_offset(state):
    """Steps of grid / (wanted + 0.1), not grid / wanted; bicubic, no antialiasing, borders repeated."""
    network = VisionTransformer(SMALL)
    network.load_state_dict(state)
    found = network.positions(3, 4).detach()
    assert torch.equal(found[:, 0], state["pos_embed"][:, 0])
    plane = state["pos_embed"][0, 1:].reshape(5, 5, -1)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        total = torch.zeros(SMALL.width)
        y, x = ((place + 0.5) * 5 / (size + 0.1) - 0.5 for place, size in ((row, 3), (column, 4)))
        for i, by in enumerate(cubic(y - math.floor(y))):
            for j, bx in enumerate(cubic(x - math.floor(x))):
                at = (min(max(math.floor(v) - 1 + s, 0), 4) for v, s in ((y, i), (x, j)))
                total += by * bx * plane[tuple(at)]
        assert torch.allclose(found[0, 1 + 4 * row + column], total, atol=1e-5)


def test_variants(state):
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    raw, scaled = (DinoV2Features(state, "0" * 64, CPU, f"dinov2-vitl14-{v}", SMALL) for v in ("raw", "normalised"))
    a, b = (extractor.features(images)["features"] for extractor in (raw, scaled))
    assert a.shape == b.shape == (3, 24)
    assert torch.allclose(b.norm(dim=1), torch.tensor(24.0).sqrt())
    assert (a.norm(dim=1) - 24**0.5).abs().min() > 1e-3
    assert raw.protocol != scaled.protocol
    with pytest.raises(UserError, match="not DINOv2's"):
        DinoV2Features({}, "0" * 64, CPU, "dinov2-vitl14-raw", SMALL)
