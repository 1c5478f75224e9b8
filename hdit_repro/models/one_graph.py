"""A compiled network that says so where the compiler did not make one graph of it, of which torch says nothing."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

from torch import nn


class CutApart(UserWarning):
    """The compiler made no graph of a network or several; what lies between them runs as if it were not compiled."""


class OneGraph(nn.Module):
    """Calls `network`, which torch.compile returned, and looks at the first call whether it became one graph.

    Later calls may be compiled anew, for a last batch that is smaller: they are not looked at.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.called = False

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        if self.called:
            return self.network(*inputs, **keywords)
        self.called = True
        graphs, reasons = _so_far()
        out = self.network(*inputs, **keywords)
        graphs_then, reasons_then = _so_far()
        made, why = graphs_then - graphs, reasons_then - reasons
        if made > 1 or why:  # one that was compiled in this process before needs no graph
            warnings.warn(CutApart(_said(made, [*why])), stacklevel=2)
        return out


def _so_far() -> tuple[int, Counter[str]]:
    """The compiler's graphs in this process, and how often it broke one off or gave up, by reason."""
    from torch._dynamo.utils import counters  # a second to import: only where something is compiled

    return counters["stats"]["unique_graphs"], counters["graph_break"] + counters["unimplemented"]


def _said(graphs: int, reasons: list[str]) -> str:
    why = reasons[0].strip().partition("\n")[0] if reasons else "it does not say why"
    return (
        f"the compiler did not make one graph of the whole network (graphs made: {graphs}; {why}), and the rest runs "
        "as if it were not compiled. Numbers hold; see whether it is faster at all than without compilation"
    )
