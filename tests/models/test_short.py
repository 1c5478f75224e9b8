"""Attention written out: the same as torch's, and only where it is meant to be."""

import pytest
import torch
import torch.nn.functional as F

from hdit_repro.models import short
from hdit_repro.models.short import SHORT, attend, written_out


def sequences(tokens, keys, width=4, dtype=torch.float64):
    q = torch.randn(3, 2, tokens, width, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(3, 2, keys, width, dtype=dtype, requires_grad=True) for _ in range(2))
    return q, k, v


def barrier(tokens, keys):
    """Some keys hidden from each query, never all of them; the same for both heads."""
    sees = torch.rand(3, 1, tokens, keys) < 0.5
    sees[..., 0] = True
    return torch.zeros(sees.shape, dtype=torch.float64).masked_fill(~sees, -torch.inf)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (5, 7), (16, 16), (16, 3)])
def test_written_out_is_attention(tokens, keys, hidden, monkeypatch):
    qkv, bias = sequences(tokens, keys), barrier(tokens, keys) if hidden else None
    expected = F.scaled_dot_product_attention(*qkv, attn_mask=bias, scale=1.0)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    out = attend(*qkv, bias)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    direction = torch.randn_like(out)
    found, wanted = (torch.autograd.grad(each, qkv, direction) for each in (out, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_gradcheck():
    bias = barrier(3, 4)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, bias), sequences(3, 4))


def test_heads_that_lie_strided_are_taken(monkeypatch):
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    qkv = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in sequences(5, 5)]
    assert torch.equal(attend(*qkv), attend(*(x.contiguous() for x in qkv)))


def test_many_keys_and_narrow_networks_are_torchs(monkeypatch):
    """Weights of many keys are not kept. Networks that are bfloat16 themselves, not by autocast, are left to torch."""
    asked = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(
        short.F, "scaled_dot_product_attention", lambda *a, **k: (asked.append(a[0].dtype), real(*a, **k))[1]
    )
    few, many = sequences(2, SHORT * 4, dtype=torch.float32), sequences(2, SHORT * 4 + 1, dtype=torch.float32)
    attend(*few)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attend(*few)
        attend(*(x.bfloat16() for x in few))
    assert asked == []
    attend(*many)
    assert asked == [torch.float32]
    attend(*(x.bfloat16() for x in few))
    assert asked == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("backward_inside", [False, True])
def test_under_autocast_it_is_as_exact_as_torchs_kernel(hidden, backward_inside):
    """Against float64 attention of the rounded q, k, v: logits of some size, which rounded ones would spoil."""
    qkv = [(3 * x).bfloat16().float().detach().requires_grad_() for x in sequences(32, 32, width=16)]
    bias = barrier(32, 32) if hidden else None
    exact_qkv = [x.detach().double().requires_grad_() for x in qkv]
    exact = F.scaled_dot_product_attention(*exact_qkv, attn_mask=bias, scale=1.0)
    direction = torch.randn_like(exact).bfloat16()
    exact_gradients = torch.autograd.grad(exact, exact_qkv, direction.double())

    def errors(attention):
        with torch.autocast("cpu", torch.bfloat16):
            out = attention()
            assert out.dtype == torch.bfloat16
            if backward_inside:
                gradients = torch.autograd.grad(out, qkv, direction)
        if not backward_inside:
            gradients = torch.autograd.grad(out, qkv, direction)
        pairs = zip((out, *gradients), (exact, *exact_gradients), strict=True)
        return [float(((a - b).norm() / b.norm()).detach()) for a, b in pairs]

    narrow = None if bias is None else bias.bfloat16()
    ours = errors(lambda: attend(*qkv, narrow))
    theirs = errors(lambda: F.scaled_dot_product_attention(*qkv, attn_mask=narrow, scale=1.0))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine <= 1.25 * other < 0.02


def test_cards_use_torchs():
    q = torch.empty(1, 1, 2, 4, device="meta")
    assert not written_out(q, q)
