"""The pass over a compiled graph: which products are changed, and that each stays the same product."""

import warnings

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from hdit_repro.training import cpu_products
from hdit_repro.training.acceleration import lean_inductor
from hdit_repro.training.cpu_products import QuickerProducts

MM, ONEDNN = torch.ops.aten.mm.default, torch.ops.hdit_repro.rows_times.default


def traced(function, *inputs):
    """The graph of `function` as the compiler's last pass sees it, with outlines of values at its nodes."""
    return make_fx(function, tracing_mode="fake")(*inputs)


def targets(module):
    return [node.target for node in module.graph.nodes if node.op == "call_function"]


def changed(function, *inputs):
    """Whether the pass leaves the values of `function` as they are, and the operations of its graph afterwards."""
    module = traced(function, *inputs)
    QuickerProducts()(module.graph)
    module.recompile()
    torch.testing.assert_close(module(*inputs), function(*inputs), rtol=1e-5, atol=1e-4)
    return targets(module)


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL alone"])
def onednn(request, monkeypatch):
    monkeypatch.setattr(cpu_products, "prefers_onednn", lambda: request.param)
    return request.param


def layer(rows, inner, outer, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, inner), (outer, inner), (rows, outer)
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


def forward(x, weight):
    return torch.mm(x, weight.t())


def for_the_input(y, weight):
    return torch.mm(y, weight)


def for_the_weight(y, x):
    return torch.mm(y.t(), x)


def test_products_of_many_rows_go_to_onednn_where_it_is_preferred(onednn):
    x, weight, y = layer(512, 128, 192)
    for found in (changed(forward, x, weight), changed(for_the_input, y, weight)):
        assert (ONEDNN in found, MM in found) == (onednn, not onednn)


@pytest.mark.parametrize(("outer", "turned"), [(128, True), (256, False), (384, False)])
def test_a_weights_gradient_is_computed_with_its_larger_side_first(onednn, outer, turned):
    x, _, y = layer(512, 256, outer)
    found = changed(for_the_weight, y, x)
    assert found.count(MM) == 1
    assert ONEDNN not in found
    module = traced(for_the_weight, y, x)
    QuickerProducts()(module.graph)
    (product,) = module.graph.find_nodes(op="call_function", target=MM)
    larger, smaller = max(outer, 256), min(outer, 256)
    assert tuple(product.meta["val"].shape) == ((larger, smaller) if turned else (outer, 256))


@pytest.mark.parametrize(
    ("rows", "inner", "outer", "dtype"),
    [(256, 512, 512, torch.float32), (512, 64, 64, torch.float32), (512, 128, 128, torch.float64)],
    ids=["few rows", "little work", "float64"],
)
def test_other_products_are_left_as_they_are(rows, inner, outer, dtype, monkeypatch):
    monkeypatch.setattr(cpu_products, "prefers_onednn", lambda: True)
    x, weight, y = layer(rows, inner, outer, dtype)
    assert ONEDNN not in changed(forward, x, weight)
    assert ONEDNN not in changed(for_the_input, y, weight)
    assert targets(traced(for_the_weight, y, x)) == changed(for_the_weight, y, x)


def test_bfloat16_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(cpu_products, "prefers_onednn", lambda: True)
    x, weight, _ = layer(512, 128, 128, torch.bfloat16)
    module = traced(forward, x, weight)
    before = targets(module)
    QuickerProducts()(module.graph)
    assert targets(module) == before


def test_two_steps_give_the_same_bits():
    if not cpu_products.prefers_onednn():
        pytest.skip("oneDNN is not preferred here")
    x, weight, _ = layer(512, 128, 192)
    first, second = (torch.ops.hdit_repro.rows_times(x, weight.t()) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("vendor", "preferred"), [("GenuineIntel", False), ("AuthenticAMD", True)])
def test_intels_processors_keep_mkl(vendor, preferred, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(cpu_products.Path, "read_text", lambda _: f"vendor_id\t: {vendor}\n")
    assert cpu_products.prefers_onednn.__wrapped__() is preferred
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert cpu_products.prefers_onednn.__wrapped__() is False


def test_a_system_that_does_not_name_its_processor_keeps_mkl(monkeypatch):
    def missing(_):
        raise FileNotFoundError

    monkeypatch.setattr(cpu_products.Path, "read_text", missing)
    assert cpu_products.prefers_onednn.__wrapped__() is False


def test_the_compilers_cache_keeps_the_choices_apart(monkeypatch):
    found = set()
    for preferred in (True, False):
        monkeypatch.setattr(cpu_products, "prefers_onednn", lambda answer=preferred: answer)
        found.add(QuickerProducts().uuid())
    assert len(found) == 2


@pytest.mark.long
def test_a_compiled_networks_gradients_are_those_of_the_network(monkeypatch):
    """Through the compiler itself, with caches off: forward, for the input and for both weights."""
    monkeypatch.setattr("torch.compiler.config.force_disable_caches", True)
    seen = []
    call = QuickerProducts.__call__
    monkeypatch.setattr(QuickerProducts, "__call__", lambda self, graph: seen.append(call(self, graph)) or None)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(128, 256, bias=False), torch.nn.GELU(), torch.nn.Linear(256, 128, bias=False)
    )
    x = torch.randn(512, 128, requires_grad=True)
    wanted = [x, *network.parameters()]
    plain = torch.autograd.grad(network(x).square().sum(), wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        compiled = torch.compile(network, dynamic=False, fullgraph=True, backend=lean_inductor)
        found = torch.autograd.grad(compiled(x).square().sum(), wanted)
    assert len(seen) == 2  # forward and backward
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
