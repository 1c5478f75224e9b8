"""Linear layers through oneDNN: values, gradients of first and second order, what is left to torch, one graph."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from hdit_repro.models import product
from hdit_repro.models.layers import Linear

pytestmark = pytest.mark.skipif(not product.HERE, reason="torch without oneDNN, or another kind of processor")
SHAPES = [((2048,), 128, 384), ((2, 16, 16), 96, 48), ((3, 7, 5), 130, 127), ((1, 1024), 64, 17)]


def layer(width_in, width_out, **more):
    found = Linear(width_in, width_out, **more)
    torch.nn.init.normal_(found.weight)
    return found


def exact(x, weight, direction):
    """Product and both gradients in float64."""
    x, weight = (each.detach().double().requires_grad_() for each in (x, weight))
    out = F.linear(x, weight)
    return out, *torch.autograd.grad(out, (x, weight), direction.double())


@pytest.mark.parametrize(("rows", "width_in", "width_out"), SHAPES)
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients(rows, width_in, width_out, compiled):
    x, linear = torch.randn(*rows, width_in, requires_grad=True), layer(width_in, width_out)
    assert product.takes(x, linear.weight)
    torch._dynamo.reset()
    call = torch.compile(linear, backend="aot_eager", fullgraph=True) if compiled else linear
    direction = torch.randn(*rows, width_out)
    out = call(x)
    found = out, *torch.autograd.grad(out, (x, linear.weight), direction)
    for a, b in zip(found, exact(x, linear.weight, direction), strict=True):
        assert (a.double() - b).norm() / b.norm() < 1e-6


def test_factors_that_do_not_lie_in_order():
    x, weight = torch.randn(64, 1024).t(), torch.randn(64, 128).t()
    torch.testing.assert_close(product.product(x, weight), x.contiguous() @ weight.t().contiguous())
    direction = torch.ones(1, 1).expand(1024, 128)
    leaf = torch.randn(1024, 64, requires_grad=True)
    (found,) = torch.autograd.grad(product.product(leaf, weight), leaf, direction)
    torch.testing.assert_close(found, direction @ weight)


def test_a_gradient_that_nobody_wants_is_not_computed():
    x, linear = torch.randn(2048, 64), layer(64, 64)
    with FlopCounterMode(display=False) as counter:
        linear(x).sum().backward()
    assert counter.get_total_flops() == 2 * (2 * 2048 * 64 * 64)
    assert x.grad is None


def test_second_derivatives():
    x, linear = torch.randn(512, 64, requires_grad=True), layer(64, 64)

    def penalty(call):
        (of_x,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(of_x.square().sum(), (x, linear.weight))

    for found, expected in zip(penalty(linear), penalty(lambda x: F.linear(x, linear.weight)), strict=True):
        assert (found - expected).norm() / expected.norm() < 1e-5


def test_what_is_left_to_torch():
    weight = torch.randn(128, 128)
    x = torch.randn(2048, 128)
    assert product.takes(x, weight)
    assert not product.takes(x[:8], weight)
    assert not product.takes(x.double(), weight.double())
    assert not product.takes(x.bfloat16(), weight.bfloat16())
    assert not product.takes(x.to("meta"), weight.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not product.takes(x, weight)
        assert layer(128, 128)(x).dtype == torch.bfloat16
    with_bias = layer(128, 128, bias=True)
    torch.nn.init.ones_(with_bias.bias)
    torch.testing.assert_close(with_bias(x), F.linear(x, with_bias.weight, with_bias.bias), rtol=0, atol=0)


def test_a_sample_is_the_same_beside_others():
    """Rows of a product do not hang on how many rows there are, for sizes of a batch in use."""
    x, linear = torch.randn(8, 256, 128), layer(128, 384)
    together, alone = linear(x), torch.cat([linear(each[None]) for each in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_inference():
    with torch.inference_mode():
        x, linear = torch.randn(2048, 64), layer(64, 64)
        torch.testing.assert_close(linear(x), F.linear(x, linear.weight), rtol=1e-5, atol=1e-4)
