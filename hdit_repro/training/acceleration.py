"""How a step is computed, without changing what it is: recomputed activations, torch.compile, deterministic kernels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hdit_repro.models.blocks import AttentionLayer, PointwiseLayer
from hdit_repro.models.dit import Block
from hdit_repro.models.one_graph import OneGraph

LAYERS = (AttentionLayer, PointwiseLayer, Block)


def recompute_layers(network: nn.Module) -> None:
    """Keep only each layer's input and compute the rest again in the backward pass: less memory, a third more time.

    Dropout masks hang on the draws' keys, so that they are the same the second time if the backward pass too runs
    under `models.dropout.keyed`.
    """
    for module in network.modules():
        if isinstance(module, LAYERS):
            plain = module.forward
            module.forward = partial(  # type: ignore[method-assign]
                checkpoint, plain, use_reentrant=False, preserve_rng_state=False
            )


def accelerated(network: nn.Module, *, recompute: bool, compiled: bool, fullgraph: bool = False) -> nn.Module:
    """What to call in place of `network`, whose weights it shares.

    Args:
        recompute: see `recompute_layers`.
        compiled: torch.compile; the first step takes minutes, and sums are taken in other orders.
        fullgraph: fail where the network is not one graph, of which else a warning is given.
    """
    if recompute:
        recompute_layers(network)
    if not compiled:
        return network
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    backend = lean_inductor if on_cpu else "inductor"
    found = torch.compile(network, dynamic=False, fullgraph=fullgraph, backend=backend)
    return OneGraph(found)  # type: ignore[arg-type]


def lean_inductor(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Any:
    """Inductor for a CPU; on cards torch's own choices stand.

    It is told that what the backward pass reads as a whole may be computed again rather than kept: a step takes as long
    and holds a fifth to a third less memory. Products go by the kernels that suit their shapes (`cpu_products`).
    """
    from torch._functorch import config
    from torch._inductor.compile_fx import compile_fx  # seconds to import: only where something is compiled

    from hdit_repro.training.cpu_products import QuickerProducts

    with config.patch(ban_recompute_materialized_backward=False):
        return compile_fx(graph, inputs, config_patches={"post_grad_custom_post_pass": QuickerProducts()})


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Only kernels that give the same bits each time; without it a GPU's atomic sums may not.

    It must be entered before the first CUDA call of the process, for cuBLAS reads its variable then.

    Raises:
        RuntimeError: later, by an operation that has no deterministic kernel.
    """
    if not wanted:
        yield
        return
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
