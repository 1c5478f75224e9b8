"""Norms, similarity, gates, rotations, positions, Fourier features: closed forms and registries."""

import math

import pytest
import torch
import torch.nn.functional as F

from hdit_repro.models import layers, positions, rope, tokens
from hdit_repro.models.blocks import FeedForward
from hdit_repro.models.init import initialise
from hdit_repro.models.mapping import Blocks, FourierFeatures
from hdit_repro.models.times import TIMES
from hdit_repro.spec import model as spec
from hdit_repro.spec.base import kinds


@pytest.mark.parametrize(
    ("registry", "union"),
    [
        (layers.NORMS, spec.Norm),
        (layers.SIMILARITIES, spec.Similarity),
        (layers.FEED_FORWARDS, spec.FeedForward),
        (layers.GATES, spec.Gate),
        (rope.ROTATIONS, spec.Position),
        (positions.POSITIONS, spec.Position),
        (tokens.SKIPS, spec.Skip),
        (TIMES, spec.TimeInput),
    ],
)
def test_registries_hold_what_the_spec_names(registry, union):
    assert tuple(registry) == kinds(union)


def random_(module, std=1.0):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std)
    return module


def test_rms_norm_is_torchs():
    norm, x = random_(layers.RMSNorm(12)), torch.randn(3, 4, 5, 12)
    torch.testing.assert_close(norm(x), F.rms_norm(x, (12,), norm.scale, eps=1e-6))


def test_conditioned_norms_apply_one_plus_the_linear_layer():
    x, cond = torch.randn(2, 3, 4, 8), torch.randn(2, 6)
    rms, layer = random_(layers.AdaRMSNorm(8, 6)), random_(layers.AdaLayerNorm(8, 6))
    for sample in range(2):
        scale = 1 + rms.linear.weight @ cond[sample]
        torch.testing.assert_close(rms(x, cond)[sample], F.rms_norm(x[sample], (8,), scale, eps=1e-6))
        scale, shift = (layer.linear.weight @ cond[sample]).chunk(2)
        expected = F.layer_norm(x[sample], (8,), 1 + scale, shift, eps=1e-6)
        torch.testing.assert_close(layer(x, cond)[sample], expected)


def test_a_feed_forward_of_dits_norm_and_gate_is_its_twin(vary):
    """One linear layer of SiLU(mapping), with a bias, gives shift, scale and gate, as in DiT."""
    network = vary(norm=spec.DiTLayerNorm(), gate=spec.DiTGate(), feed_forward=spec.GELU())
    branch = random_(FeedForward(network, network.levels[0]), std=0.3)
    x, cond = torch.randn(2, 3, 4, 16), torch.randn(2, 16)
    weight = torch.cat((branch.norm.linear.weight, branch.gate.linear.weight))
    bias = torch.cat((branch.norm.linear.bias, branch.gate.linear.bias))
    scale, shift, gate = ((cond * cond.sigmoid()) @ weight.T + bias)[:, None, None].chunk(3, dim=-1)
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    hidden = (normal * (1 + scale) + shift) @ branch.up_proj.weight.T
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = x + gate * (hidden @ branch.down_proj.weight.T)
    torch.testing.assert_close(branch(x, cond), expected, rtol=1e-4, atol=1e-4)


def test_a_mapping_network_of_gelu_is_its_twin():
    mapping = spec.Mapping(depth=2, width=6, d_ff=10, activation="gelu")
    network, x = random_(Blocks(mapping), std=0.5), torch.randn(3, 6)

    def norm(x, scale):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale

    expected = norm(x, network.in_norm.scale)
    for block in network.blocks:
        hidden = norm(expected, block.norm.scale) @ block.up_proj.weight.T
        assert hidden.shape == (3, 10)
        expected = expected + hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))) @ block.down_proj.weight.T
    torch.testing.assert_close(network(x), norm(expected, network.out_norm.scale), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [10.0, 3.0])
def test_the_scales_of_cosines_start_where_the_spec_says(scale):
    holder = torch.nn.ModuleList([layers.CosineSimilarity(spec.CosineSimilarity(initial_scale=scale), 3, 8)])
    initialise(holder, 0)
    assert holder[0].scale.tolist() == [scale] * 3


def test_cosine_similarity_is_scale_times_cosine():
    similarity = layers.CosineSimilarity(spec.CosineSimilarity(), 3, 8)
    with torch.no_grad():
        similarity.scale.copy_(torch.tensor([10.0, 5.0, 1.0]))
    q, k = torch.randn(2, 1, 4, 5, 3, 8).unbind(0)
    a, b = similarity(q, k)
    torch.testing.assert_close(
        (a * b).sum(-1), similarity.scale * F.cosine_similarity(q, k, dim=-1), rtol=1e-4, atol=1e-5
    )


def test_cosine_similarity_of_zero_is_zero():
    similarity = layers.CosineSimilarity(spec.CosineSimilarity(), 1, 4)
    with torch.no_grad():
        similarity.scale.fill_(10)
    q, _ = similarity(torch.zeros(1, 1, 1, 1, 4), torch.ones(1, 1, 1, 1, 4))
    assert (q == 0).all()


def test_dot_product_is_scaled_by_the_root_of_the_head():
    q, k = torch.randn(2, 1, 4, 5, 3, 16).unbind(0)
    a, b = layers.DotProduct(spec.DotProduct(), 3, 16)(q, k)
    torch.testing.assert_close((a * b).sum(-1), (q * k).sum(-1) / 4)


def test_feed_forward_activations():
    x = torch.randn(2, 3, 4, 6)
    gated, plain = random_(layers.GEGLU(6, 10)), random_(layers.GELU(6, 10))
    value, gate = (x @ gated.weight.T).split(10, dim=-1)
    normal = 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    torch.testing.assert_close(gated(x), value * gate * normal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain(x), F.gelu(x @ plain.weight.T))


def test_the_mapping_gate_multiplies_by_its_linear_layer():
    gate, x, cond = random_(layers.MappingGate(8, 6)), torch.randn(2, 3, 4, 8), torch.randn(2, 6)
    torch.testing.assert_close(gate(x, cond), torch.einsum("bhwd,bd->bhwd", x, cond @ gate.linear.weight.T))


def test_skips_meet():
    x, skip = torch.randn(2, 1, 3, 4, 6).unbind(0)
    lerp, concat = tokens.Lerp(6), random_(tokens.Concat(6))
    with torch.no_grad():
        lerp.fac.fill_(0.25)
    torch.testing.assert_close(lerp(x, skip), 0.75 * skip + 0.25 * x)
    torch.testing.assert_close(tokens.Add(6)(x, skip), x + skip)
    weight = concat.proj.weight
    torch.testing.assert_close(concat(x, skip), x @ weight[:, :6].T + skip @ weight[:, 6:].T)


def test_merge_then_split_with_inverse_weights_is_the_identity():
    merge, split = tokens.TokenMerge(3, 24, (2, 4)), tokens.TokenSplit(24, 3, (2, 4))
    with torch.no_grad():
        merge.proj.weight.copy_(torch.linalg.qr(torch.randn(24, 24)).Q)
        split.proj.weight.copy_(merge.proj.weight.T)
    x = torch.randn(2, 6, 8, 3)
    torch.testing.assert_close(split(merge(x)), x)


def test_places_keep_the_aspect_ratio_and_merge_by_their_mean():
    at = rope.places(4, 8, torch.device("cpu"), torch.float64)
    torch.testing.assert_close(at.columns, (torch.arange(8, dtype=torch.float64) + 0.5) / 4 - 1)
    torch.testing.assert_close(at.rows, at.columns[2:6])
    coarse = rope.places(2, 4, torch.device("cpu"), torch.float64)
    torch.testing.assert_close(coarse.rows, at.rows.reshape(2, 2).mean(1))
    torch.testing.assert_close(coarse.columns, at.columns.reshape(4, 2).mean(1))


def test_frequencies_run_log_spaced_over_heads_then_pairs():
    found = rope.frequencies(3, 2)
    expected = [[math.pi * 10 ** ((pair * 3 + head) / 6) for pair in range(2)] for head in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected))


def rotated(height=4, width=6, heads=2, head=16):
    module = rope.AxialRoPE(heads, head).double()
    module.freqs.copy_(rope.frequencies(heads, head // 8))
    at = rope.places(height, width, torch.device("cpu"), torch.float64)
    return module, at, torch.randn(2, 1, height, width, heads, head, dtype=torch.float64).unbind(0)


def test_rotation_keeps_lengths_and_the_second_half():
    module, at, (q, k) = rotated()
    turned, _ = module(q, k, at)
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(turned[..., 8:], q[..., 8:])
    assert not torch.allclose(turned[..., :8], q[..., :8])


def test_rotation_knows_only_differences_of_places():
    module, at, (q, k) = rotated()
    q, k = q[:, :1, :1].expand_as(q), k[:, :1, :1].expand_as(k)  # the same head everywhere
    a, b = module(q, k, at)
    logits = torch.einsum("bhwne,byxne->bnhwyx", a, b)
    torch.testing.assert_close(logits[:, :, :-1, :-1, :-1, :-1], logits[:, :, 1:, 1:, 1:, 1:])
    assert not torch.allclose(logits[:, :, 0, 0, 0, 1], logits[:, :, 0, 0, 1, 0])


def test_rotation_turns_the_pair_that_it_says():
    module, at, _ = rotated(heads=1)
    unit = torch.zeros(1, 4, 6, 1, 16, dtype=torch.float64)
    unit[..., 0], unit[..., 3] = 1, 1  # pair 0 goes with the row, pair 3 with the column
    turned, _ = module(unit, unit, at)
    row, column = at.rows[1] * module.freqs[0, 0], at.columns[2] * module.freqs[0, 1]
    expected = torch.zeros(16, dtype=torch.float64)
    expected[0], expected[4], expected[3], expected[7] = row.cos(), row.sin(), column.cos(), column.sin()
    torch.testing.assert_close(turned[0, 1, 2, 0], expected)


def test_sin_cos_positions():
    found = positions.sin_cos(3, 5, 8)
    assert found.shape == (3, 5, 8)
    for row in range(3):
        for column in range(5):
            at = torch.tensor([column, column / 100, row, row / 100], dtype=torch.float64).reshape(2, 2)
            torch.testing.assert_close(found[row, column], torch.cat((at.sin(), at.cos()), dim=1).flatten())


def test_fourier_features():
    features = FourierFeatures(2, 6)
    features.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.25], [0.5, 0.5]]))
    found = features(torch.tensor([[0.25, 1.0]]))
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 0.0, math.cos(1.25 * math.pi), 1, 1, math.sin(1.25 * math.pi)]])
    )
