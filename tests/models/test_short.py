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


def test_long_sequences_and_narrow_precision_are_torchs(monkeypatch):
    """Weights of many keys are not kept, and a softmax is never taken of rounded logits."""
    asked = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(
        short.F, "scaled_dot_product_attention", lambda *a, **k: (asked.append(a[0].dtype), real(*a, **k))[1]
    )
    few, many = sequences(2, SHORT * 4, dtype=torch.float32), sequences(2, SHORT * 4 + 1, dtype=torch.float32)
    attend(*few)
    assert asked == []
    attend(*many)
    assert asked == [torch.float32]
    attend(*(x.bfloat16() for x in few))
    assert asked == [torch.float32, torch.bfloat16]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attend(*few)
    assert len(asked) == 3


def test_cards_use_torchs():
    q = torch.empty(1, 1, 2, 4, device="meta")
    assert not written_out(q, q)
