"""What a compiled network says of itself: nothing if it is one graph, and why if it is several."""

import pytest
import torch
from torch import nn

from hdit_repro.models.one_graph import CutApart, OneGraph


class Cut(nn.Module):
    """Which the compiler cannot see through."""

    @torch.compiler.disable(reason="a test")
    def forward(self, x):
        return x * 2


class Between(nn.Module):
    """Two layers with `part` between them."""

    def __init__(self, part):
        super().__init__()
        self.first, self.part, self.last = nn.Tanh(), part, nn.Tanh()

    def forward(self, x):
        return self.last(self.part(self.first(x)))


def one_graph(network):
    return OneGraph(torch.compile(network, backend="eager", dynamic=False))


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()


@pytest.mark.parametrize(("network", "graphs"), [(Between(Cut()), 2), (nn.Sequential(nn.Tanh(), Cut(), nn.Tanh()), 0)])
def test_a_network_cut_apart_is_spoken_of_once_and_calls_the_same(network, graphs):
    x, plain = torch.randn(2, 3), lambda x: torch.tanh(2 * torch.tanh(x))
    network = one_graph(network)
    with pytest.warns(CutApart, match=rf"one graph .* \(graphs made: {graphs}; Skip inlining.*\)") as said:
        torch.testing.assert_close(network(x), plain(x))
    assert len(said) == 1
    torch.testing.assert_close(network(x), plain(x))
    torch.testing.assert_close(network(x[:1]), plain(x[:1]))  # compiled anew


def test_one_graph_is_not_spoken_of():
    x = torch.randn(2, 3)
    with pytest.warns(CutApart):
        one_graph(Between(Cut()))(x)
    torch.testing.assert_close(one_graph(Between(nn.Tanh()))(x), Between(nn.Tanh())(x))
    torch.testing.assert_close(one_graph(Between(nn.Tanh()))(x), Between(nn.Tanh())(x))  # compiled already
