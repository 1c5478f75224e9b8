"""Matrix products of a compiled network on a CPU: the same sums, by whichever kernel takes less time for their shape.

Inductor hands every product to MKL as the graph has it. Two kinds are quicker otherwise:

- of many rows, on processors that are not Intel's: MKL leaves them its older instructions; oneDNN, which torch carries
  too, writes code for what the processor has.
- gradients of weights, y^T x of y: rows x out and x: rows x in: MKL is quicker when the larger of out and in comes
  first, so the transpose is computed where that is `in`.

`acceleration.lean_inductor` hands the pass to the compiler.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, library
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

ROWS = 512
"""The fewest rows of a product for oneDNN: below, laying the weights out anew at every call costs more than is won."""
WORK = 512 * 128 * 128
"""The fewest multiplications of a product that is changed."""

_operators = library.Library("hdit_repro", "DEF")  # type: ignore[no-untyped-call]
_operators.define("rows_times(Tensor rows, Tensor columns) -> Tensor")  # type: ignore[no-untyped-call]


def _rows_times(rows: Tensor, columns: Tensor) -> Tensor:
    """rows: M K, columns: K N of any strides, float32; their product, M N, by oneDNN."""
    return torch.as_tensor(torch.ops.mkldnn._linear_pointwise(rows, columns.t(), None, "none", [], ""))


def _outlined(rows: Tensor, columns: Tensor) -> Tensor:
    """The product's shape and dtype, without values: for the compiler."""
    return rows.new_empty(rows.shape[0], columns.shape[1])


_operators.impl("rows_times", _rows_times, "CPU")  # type: ignore[no-untyped-call]
_operators.impl("rows_times", _outlined, "Meta")  # type: ignore[no-untyped-call]


class QuickerProducts(CustomGraphPass):
    """Inductor's pass over the finished graph of a network, forward or backward; changes it in place."""

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mm.default):
            left, right = (factor.meta["val"] for factor in node.args)
            if left.dtype != torch.float32 or left.shape[0] * left.shape[1] * right.shape[1] < WORK:
                continue
            if left.stride(1) == 1 and left.shape[0] >= ROWS and prefers_onednn():
                node.target = torch.ops.hdit_repro.rows_times.default
            elif left.stride(0) == 1 and left.shape[0] < right.shape[1]:
                _transposed(graph, node)
        graph.lint()

    def uuid(self) -> Any:
        """What the compiler's cache knows this pass by."""
        return get_hash_for_files((__file__,), extra=str(prefers_onednn()))


def _transposed(graph: Graph, node: Node) -> None:
    """a b = (b^T a^T)^T."""
    with graph.inserting_before(node):
        factors = [_turned(graph, factor) for factor in reversed(node.args)]
        product = graph.call_function(torch.ops.aten.mm.default, tuple(factors))
        product.meta["val"] = torch.mm(*(factor.meta["val"] for factor in factors))
        node.replace_all_uses_with(_turned(graph, product))
    graph.erase_node(node)


def _turned(graph: Graph, factor: Any) -> Node:
    """The transpose of a node of the graph, a view."""
    out = graph.call_function(torch.ops.aten.permute.default, (factor, [1, 0]))
    out.meta["val"] = factor.meta["val"].t()
    return out


@cache
def prefers_onednn() -> bool:
    """Whether products of many rows go to oneDNN: torch has it beside MKL, and the processor is not Intel's."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        return "GenuineIntel" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
