"""The fused parts against the plain operations: values, gradients, and what they leave to those."""

import pytest
import torch
import torch.nn.functional as F

from hdit_repro.models import fused
from hdit_repro.models.layers import EPS, GEGLU, _to_length, rms_scale
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


ONE_TOKEN = ((3, 1, 1, 8), (3, 1, 1, 8))
"""A grid of one token: the scale has the shape of x, and its gradient is a sum of one."""


@pytest.mark.parametrize(
    ("shape", "scale"), [((2, 3, 5, 8), (8,)), ((2, 3, 5, 8), (2, 1, 1, 8)), ((4, 8), (8,)), ((1, 8), (8,)), ONE_TOKEN]
)
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


def plainly(monkeypatch, call, inputs, direction):
    """What `call` and its gradients are without the fused forms."""
    with monkeypatch.context() as patched:
        patched.setattr(fused, "fits", lambda x: False)
        out = call(*inputs)
        return out, torch.autograd.grad(out, inputs, direction)


def errors(found, exact):
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("scale", [(32,), (2, 1, 1, 32)])
@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16])
def test_a_norm_of_bfloat16_is_the_plain_one_with_gradients_no_worse(scale, scale_dtype, monkeypatch):
    x = torch.randn(2, 3, 5, 32).bfloat16().requires_grad_()
    s, direction = torch.randn(scale).to(scale_dtype).requires_grad_(), torch.randn(2, 3, 5, 32).bfloat16()
    found = rms_scale(x, s)
    gradients = torch.autograd.grad(found, (x, s), direction)
    plain, plain_gradients = plainly(monkeypatch, rms_scale, (x, s), direction)
    assert found.dtype == torch.bfloat16
    assert [each.dtype for each in gradients] == [torch.bfloat16, scale_dtype]
    torch.testing.assert_close(found, plain, rtol=2**-7, atol=0)  # at most a last bit apart
    wide = [each.detach().double().requires_grad_() for each in (x, s)]
    exact = torch.autograd.grad(plain_norm(*wide), wide, direction.double())
    for ours, theirs in zip(errors(gradients, exact), errors(plain_gradients, exact), strict=True):
        assert ours <= 1.05 * theirs < 0.02


@pytest.mark.parametrize("position", ["axial-rope", "none"])
def test_length_and_turn_of_bfloat16_are_the_plain_ones_with_gradients_no_worse(position):
    pairs = 2 if position == "axial-rope" else 0
    x, root = torch.randn(2, 3, 5, 2, 8).bfloat16().requires_grad_(), torch.rand(2).requires_grad_()
    angle, direction = torch.randn(3, 5, 2, pairs), torch.randn(2, 3, 5, 2, 8).bfloat16()
    cos, sin = angle.cos(), angle.sin()
    found = fused.LengthAndTurn.apply(x, root, cos, sin, EPS)
    gradients = torch.autograd.grad(found, (x, root), direction)
    plain = turn(_to_length(x, root[:, None]), cos, sin)
    plain_gradients = torch.autograd.grad(plain, (x, root), direction)
    assert (found.dtype, gradients[0].dtype, gradients[1].dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    torch.testing.assert_close(found, plain, rtol=2**-7, atol=1e-6)
    wide = [each.detach().double().requires_grad_() for each in (x, root)]
    exact = torch.autograd.grad(plain_turn(*wide, cos.double(), sin.double()), wide, direction.double())
    for ours, theirs in zip(errors(gradients, exact), errors(plain_gradients, exact), strict=True):
        assert ours <= 1.05 * theirs < 0.02


def test_gated_of_bfloat16_is_the_plain_one_bit_by_bit():
    x, direction = torch.randn(3, 4, 32).bfloat16().requires_grad_(), torch.randn(3, 4, 16).bfloat16()
    value, gate = x.chunk(2, dim=-1)
    plain, found = value * F.gelu(gate), fused.Gated.apply(x)
    assert torch.equal(plain, found)
    assert torch.equal(*(torch.autograd.grad(each, x, direction)[0] for each in (plain, found)))


def test_what_is_taken():
    x = torch.randn(2, 3, 8)
    assert fused.fits(x)
    assert fused.fits(x.double())
    assert fused.fits(x.bfloat16())
    assert not fused.fits(x.half())
    layer = GEGLU(8, 4)
    torch.nn.init.normal_(layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
