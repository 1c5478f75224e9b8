"""How the network is called while samples are drawn: as it is, compiled, or replayed as a CUDA graph.

None of them changes what a sample is, but for the order of sums. A record's provenance names those that were used.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hdit_repro.models.one_graph import OneGraph
from hdit_repro.stages.settings import Way

WARM = 3
"""Calls before a graph is captured, in which kernels are compiled and memory is taken."""


class EagerInstead(UserWarning):
    """The network cannot be captured as a CUDA graph and is called as it is."""


class Padded(nn.Module):
    """A network that is always given `rows` samples, the last one again where there are fewer, so that it is compiled
    or captured once. Rows do not know of each other."""

    def __init__(self, network: nn.Module, rows: int) -> None:
        super().__init__()
        self.network, self.rows = network, rows

    def forward(self, x: Tensor, level: Tensor, class_cond: Tensor | None = None) -> Tensor:
        given, lacking = len(x), self.rows - len(x)
        if lacking > 0:
            x, level = filled(x, lacking), filled(level, lacking)
            class_cond = None if class_cond is None else filled(class_cond, lacking)
        out: Tensor = self.network(x, level, class_cond=class_cond)
        return out[:given]


class Replayed(nn.Module):
    """A network whose call is one CUDA graph, captured at the first; a call of another shape goes as it is.

    Where the capture fails it says so, and all calls go as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.failed = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._held: list[Tensor] = []
        self._out = torch.empty(0)

    def forward(self, x: Tensor, level: Tensor, class_cond: Tensor | None = None) -> Tensor:
        inputs = [x, level] if class_cond is None else [x, level, class_cond]
        if self._graph is None and not self.failed:
            self._try(inputs)
        if self._graph is None or [each.shape for each in inputs] != [each.shape for each in self._held]:
            return self._call(inputs)
        for held, given in zip(self._held, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._out.clone()  # the next replay writes there again

    def _try(self, inputs: list[Tensor]) -> None:
        try:
            self._capture(inputs)
        except RuntimeError as error:
            self.failed, self._graph, self._held = True, None, []
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                EagerInstead(f"the network cannot be captured as a CUDA graph, and is called as it is: {reason}"),
                stacklevel=2,
            )

    def _capture(self, inputs: list[Tensor]) -> None:
        """Capture at the shapes of `inputs`, as torch's notes on CUDA graphs have it: warm up in a stream aside.

        Streams are the current device's, which is card 0 whatever card is asked for; a graph captured there would be
        empty, and its replays would give the first call's result for ever. A capture that fails leaves its stream the
        current one.
        """
        self._held = [given.clone() for given in inputs]
        with torch.cuda.device(inputs[0].device):
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    self._call(self._held)
            here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(here), torch.cuda.graph(graph):
                self._out = self._call(self._held)
        self._graph = graph

    def _call(self, inputs: list[Tensor]) -> Tensor:
        """Autocast must not keep weights from call to call: what it keeps is given back before a graph is replayed."""
        x, level, *rest = inputs
        kind = x.device.type
        dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
            out: Tensor = self.network(x, level, class_cond=rest[0] if rest else None)
        return out


def called(network: nn.Module, way: Way, rows: int) -> nn.Module:
    """What to call in place of `network` (in evaluation mode).

    Args:
        way: "eager", "compile" (torch.compile; the first call takes a minute and more), "graph" (on a card).
        rows: samples at once, at most; those without their class count too.
    """
    if way == "compile":
        return Padded(OneGraph(torch.compile(network, dynamic=False)), rows)  # type: ignore[arg-type]
    if way == "graph":
        return Padded(Replayed(network), rows)
    return network


def way_here(way: Way, device: torch.device) -> Way:
    """The way that can be gone on a device: a CPU has no CUDA graphs, and calls the network as it is."""
    if way == "graph" and device.type != "cuda":
        warnings.warn(
            EagerInstead(f"there are no CUDA graphs on {device}: the network is called as it is"), stacklevel=2
        )
        return "eager"
    return way


def way_gone(network: nn.Module, way: Way) -> Way:
    """The way that `called` went in the end: eager where nothing could be captured."""
    replayed = next((each for each in network.modules() if isinstance(each, Replayed)), None)
    return "eager" if replayed is not None and replayed.failed else way


def filled(x: Tensor, lacking: int) -> Tensor:
    """`x` with its last row again as often as it lacks."""
    return torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])])
