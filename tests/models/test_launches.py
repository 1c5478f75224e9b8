"""Guards of speed that no clock is needed for: operations launched, bytes allocated, graph breaks."""

import msgspec
import pytest
import torch
from torch._functorch._aot_autograd.autograd_cache import check_cacheable
from torch.utils._python_dispatch import TorchDispatchMode

from hdit_repro import jobs
from hdit_repro.models.attention import Neighborhood
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.training.ema import EmaWeights
from hdit_repro.training.optim import make_optimizer

VIEWS = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "slice", "split",
    "alias", "detach", "unbind", "as_strided", "chunk", "_reshape_alias", "unsafe_split", "promote_types",
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts operations that do work, and the bytes of what they give."""

    def __init__(self):
        super().__init__()
        self.count, self.bytes = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.count += 1
            if not name.endswith("_"):
                found = out if isinstance(out, tuple | list) else (out,)
                self.bytes += sum(each.nbytes for each in found if isinstance(each, torch.Tensor))
        return out


def layers(attention, depth):
    """Row E with so many layers in its one level."""
    tree = msgspec.to_builtins(jobs.find("table1/E", "smoke").run)
    tree["model"] |= {"widths": [64], "depths": [depth], "heads": [1], "attention": [attention], "dropout": [0.0]}
    return msgspec.convert(tree, Run)


def launched(attention, depth, narrow=False):
    run = layers(attention, depth)
    network = build(run.model, seed=0)
    x = torch.randn(2, 3, run.model.resolution, run.model.resolution)
    labels = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        network(x, torch.ones(2), class_cond=labels)  # what is computed once and kept is not a layer's
    with Launches() as found:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            out = network(x, torch.ones(2), class_cond=labels)
        out.square().mean().backward()
    return found


BOUNDS = [
    ({"kind": "global"}, (140, 11.8e6)),
    ({"kind": "shifted-window", "window": 4}, (149, 10.9e6)),
    ({"kind": "neighborhood", "kernel": 7}, (204, 17.8e6)),
]
"""Counted with torch 2.13.0 and 2.8.0: 137, 146 and 199 operations; 11.5, 10.7 and 17.2 MB for two images of 16 x 16
tokens."""


NARROW_BOUNDS = [
    ({"kind": "global"}, (182, 10.8e6)),
    ({"kind": "shifted-window", "window": 4}, (191, 8.9e6)),
    ({"kind": "neighborhood", "kernel": 7}, (236, 11.8e6)),
]
"""Under autocast to bfloat16: 178, 187 and 231 operations; 10.6, 8.6 and 11.4 MB."""


@pytest.mark.parametrize(
    ("attention", "bound", "narrow"), [(*each, False) for each in BOUNDS] + [(*each, True) for each in NARROW_BOUNDS]
)
def test_operations_and_bytes_of_a_layer(attention, bound, narrow):
    """One layer more, forward and backward: at most so many operations and bytes."""
    launched(attention, 2)  # what depends on the grid alone is computed once, and would be counted for the smaller one
    one, two = launched(attention, 2, narrow), launched(attention, 4, narrow)
    operations, size = (two.count - one.count) / 2, (two.bytes - one.bytes) / 2
    assert operations <= bound[0]
    assert size <= bound[1]


def test_the_optimiser_and_the_average_do_not_launch_a_parameter_at_a_time():
    counts = []
    for depth in (1, 5):
        run = layers({"kind": "global"}, depth)
        network = build(run.model, seed=0)
        optimizer, ema = make_optimizer(network, run.training.optimizer), EmaWeights(network, run.training.ema)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        with Launches() as found:
            optimizer.step()
            ema.update(network, 1)
        counts.append(found.count)
    assert counts[0] == counts[1]


def test_neighborhood_attention_keeps_nothing_that_it_gathers():
    """What autograd keeps: q, k, v, the output, and one number a query and head."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    q, k, v = (torch.randn(1, 32, 32, 2, 16, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Neighborhood(7)(q, k, v)
    assert sum(kept.values()) == 4 * q.nbytes + 4 * 32 * 32 * 2


@pytest.mark.parametrize("attention", [each for each, _ in BOUNDS])
def test_a_network_is_one_graph_that_a_cache_may_keep(attention):
    """One without what torch does not know: else the next process makes all of the backward pass's operations anew."""
    model = layers(attention, 1).model
    network = build(model, seed=0)
    torch._dynamo.reset()
    x, labels = torch.randn(1, 3, model.resolution, model.resolution), torch.zeros(1, dtype=torch.int64)

    def backend(graph, _inputs):
        if attention["kind"] != "shifted-window":  # whose gradient is one of ours (`windows.Reorder`)
            check_cacheable(graph)
        return graph

    compiled = torch.compile(network, backend=backend, fullgraph=True)
    torch.testing.assert_close(
        compiled(x, torch.ones(1), class_cond=labels), network(x, torch.ones(1), class_cond=labels)
    )
