"""Dropout whose masks belong to samples."""

import pytest
import torch
from torch import library

from hdit_repro.models import build
from hdit_repro.models.dropout import Dropout, keyed, mix, opaque_uniform, uniform


def keys(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_the_finaliser_is_splitmix64():
    """The first outputs of splitmix64 seeded with 0 (Vigna's reference implementation)."""
    golden = 0x9E3779B97F4A7C15 - 2**64
    found = [int(mix(keys(0) + (step * golden + 2**63) % 2**64 - 2**63)[0]) % 2**64 for step in (1, 2, 3)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_uniform_numbers_are_uniform_and_differ_between_keys():
    found = uniform(keys(1, 2), torch.Size((2, 50_000)))
    assert ((found >= 0) & (found < 1)).all()
    assert (found.mean(dim=1) - 0.5).abs().max() < 5 / (12 * 50_000) ** 0.5
    assert torch.corrcoef(found)[0, 1].abs() < 5 / 50_000**0.5
    counts = torch.histc(found[0], bins=20, min=0, max=1)
    assert ((counts - 2500) ** 2 / 2500).sum() < 45  # chi-squared, 19 degrees of freedom: p about 7e-4


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_dropped_is_the_rate_and_the_rest_is_scaled(rate):
    dropout = Dropout(rate).train()
    with keyed(dropout, keys(5)):
        out = dropout(torch.ones(1, 100_000))
    share = (out == 0).float().mean()
    assert abs(share - rate) < 5 * (rate * (1 - rate) / 100_000) ** 0.5
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - rate)))


def test_it_does_nothing_in_evaluation_or_at_rate_zero():
    x = torch.randn(2, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_without_keys_masks_come_from_torch():
    dropout, x = Dropout(0.5).train(), torch.ones(2, 1000)
    assert not torch.equal(dropout(x), dropout(x))


def test_a_samples_output_does_not_depend_on_its_batch(small, vary, awaken, inputs):
    network = awaken(build(vary(dropout=(0.3, 0.2), mapping={"depth": 1, "width": 16, "d_ff": 32, "dropout": 0.2})))
    network.double().train()
    call = inputs(small, batch=4, dtype=torch.float64)
    with torch.no_grad():
        with keyed(network, keys(10, 11, 12, 13)):
            whole = network(**call)
        with keyed(network, keys(12, 13)):
            part = network(**{name: value[2:] for name, value in call.items()})
        with keyed(network, keys(12, 14)):
            other = network(**{name: value[2:] for name, value in call.items()})
        plain = network.eval()(**call)
    torch.testing.assert_close(whole[2:], part, rtol=0, atol=1e-12)
    torch.testing.assert_close(part[0], other[0], rtol=0, atol=1e-12)
    assert not torch.allclose(part[1], other[1])
    assert not torch.allclose(whole, plain)


def test_each_level_and_the_mapping_drop_at_their_rates_what_goes_into_a_branchs_last_layer(small, vary, inputs):
    network = build(vary(dropout=(0.1, 0.2), mapping={"depth": 2, "width": 16, "d_ff": 32, "dropout": 0.3})).train()
    given, left = {}, {}
    for name, module in network.named_modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(lambda _module, _inputs, out, name=name: left.update({name: out}))
        elif name.endswith(("out_proj", "down_proj")):
            branch = name.rpartition(".")[0]
            module.register_forward_pre_hook(
                lambda _module, args, name=branch: given.update({f"{name}.dropout": args[0]})
            )
    network(**inputs(small))
    rates = {"mapping": 0.3, "down_levels": 0.1, "up_levels": 0.1, "mid_level": 0.2}
    assert len(left) == 2 + 2 * (2 + 2 + 1), "the mapping's blocks, and two for each layer"
    for name, out in left.items():
        assert network.get_submodule(name).rate == rates[name.partition(".")[0]], name
        assert given[name] is out, name


def test_layers_have_masks_of_their_own_and_forget_their_keys():
    pair = torch.nn.ModuleList([Dropout(0.5), Dropout(0.5)]).train()
    x = torch.ones(1, 1000)
    with keyed(pair, keys(3)):
        assert not torch.equal(pair[0](x), pair[1](x))
    assert all(each.keys is None for each in pair)


def test_layers_that_drop_nothing_cost_nothing_and_keep_their_number():
    layers, x = torch.nn.ModuleList([Dropout(0.0), Dropout(0.5)]).train(), torch.ones(1, 1000)
    numbered = torch.nn.ModuleList([Dropout(0.5), Dropout(0.5)]).train()
    with keyed(numbered, keys(3)):
        wanted = numbered[1](x)
    with keyed(layers, keys(3)):
        assert layers[0].keys is None
        assert torch.equal(layers[1](x), wanted)


def test_compiled_code_drops_the_same_values_within_one_graph():
    """The operation is opaque: the compiler's integers do not wrap around. New keys are no reason to compile anew."""
    torch._dynamo.reset()
    dropout, x = Dropout(0.3).train(), torch.randn(3, 4, 5)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(dropout, backend=backend, fullgraph=True, dynamic=False)
    for first in (1, 7):
        found, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
        with keyed(dropout, keys(first, 2, 3)):
            a, b = compiled(found), dropout(wanted)
            torch.testing.assert_close(a, b, rtol=0, atol=0)
            torch.testing.assert_close(*(torch.autograd.grad(y.sum(), z)[0] for y, z in ((a, found), (b, wanted))))
    assert len(graphs) == 1


def test_the_opaque_operation_keeps_what_the_compiler_is_told_of_it():
    library.opcheck(opaque_uniform, (keys(1, -2), (2, 3, 4)))
