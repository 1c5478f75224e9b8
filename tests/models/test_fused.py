"""The fused parts against the plain operations: values, gradients, and what they leave to those."""

import pytest
import torch
import torch.nn.functional as F

from hdit_repro.models import fused
from hdit_repro.models.layers import EPS, GEGLU, rms_scale
from hdit_repro.models.rope import turn


def plain_norm(x, scale):
    return x * (scale * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPS))


def plain_turn(x, root, cos, sin):
    x = x * (root[:, None] * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + EPS))
    return turn(x, cos, sin)


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_same(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    direction = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(found, inputs, direction), torch.autograd.grad(expected, inputs, direction), strict=True
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "scale"), [((2, 3, 5, 8), (8,)), ((2, 3, 5, 8), (2, 1, 1, 8)), ((4, 8), (8,))])
def test_norm(shape, scale):
    x, s = leaf(*shape), leaf(*scale)
    assert_same(rms_scale(x, s), plain_norm(x, s), (x, s))
    assert torch.autograd.gradcheck(lambda x, s: fused.ScaledNorm.apply(x, s, EPS), (x, s))


@pytest.mark.parametrize("pairs", [0, 2])
def test_length_and_turn(pairs):
    x, root = leaf(2, 3, 5, 2, 8), leaf(2)
    angle = torch.randn(3, 5, 2, pairs, dtype=torch.float64)
    cos, sin = angle.cos(), angle.sin()
    found = fused.LengthAndTurn.apply(x, root, cos, sin, EPS)
    assert_same(found, plain_turn(x, root, cos, sin), (x, root))
    assert torch.autograd.gradcheck(lambda x, r: fused.LengthAndTurn.apply(x, r, cos, sin, EPS), (x, root))


def test_a_zero_vector_keeps_finite_gradients():
    x, root = torch.zeros(1, 1, 1, 1, 4, requires_grad=True), torch.ones(1, requires_grad=True)
    none = torch.empty(0)
    fused.LengthAndTurn.apply(x, root, none, none, EPS).sum().backward()
    assert x.grad.isfinite().all()
    y, scale = torch.zeros(2, 4, requires_grad=True), torch.ones(4, requires_grad=True)
    rms_scale(y, scale).sum().backward()
    assert y.grad.isfinite().all()


def test_gated():
    x = leaf(3, 4, 10)
    value, gate = x.chunk(2, dim=-1)
    assert_same(fused.Gated.apply(x), value * F.gelu(gate), (x,))
    assert torch.autograd.gradcheck(fused.Gated.apply, (x,))


def test_gated_in_blocks(monkeypatch):
    """Rows are taken some at a time, the last fewer; the gradient is the same bits."""
    x, direction = torch.randn(5, 7, 16, requires_grad=True), torch.randn(5, 7, 8)
    (whole,) = torch.autograd.grad(fused.Gated.apply(x), x, direction)
    monkeypatch.setattr(fused, "BLOCK", 16 * 4 + 3)
    assert fused.block(x) == 4
    (parts,) = torch.autograd.grad(fused.Gated.apply(x), x, direction)
    assert torch.equal(whole, parts)
    assert fused.block(x.detach().to("meta")) == 35
    assert fused.block(torch.empty(0, 16)) == 1


def test_narrow_and_mixed_precisions_are_left_to_plain_operations():
    x = torch.randn(2, 3, 8)
    assert fused.fits(x)
    assert not fused.fits(x.bfloat16())
    assert not fused.fits(x, x.double())
    layer = GEGLU(8, 4)
    torch.nn.init.normal_(layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
