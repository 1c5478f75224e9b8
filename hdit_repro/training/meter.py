"""How fast a run goes and what it takes: images a second, time spent waiting for data, utilisation, memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator

import torch
from torch import nn

from hdit_repro.cost import count
from hdit_repro.cost.cards import mfu, peak
from hdit_repro.models.layers import CosineSimilarity
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision
from hdit_repro.training.distributed import World
from hdit_repro.training.transfer import Reading


class Meter:
    """Measures from one reading to the next.

    Time goes into the steps that are begun, and what came of a step is known while the next one is computed: so steps
    count when their data is asked for, at the size of those that ended.
    """

    def __init__(self, run: Run, world: World) -> None:
        self.macs = count(run.model, run.data.resolution).macs
        self.world = world
        self.peak = card_peak(world.device, run.training.precision)
        self._last: dict[str, float] = {}
        self._begin()

    def _begin(self) -> None:
        self._since, self._waited = time.monotonic(), 0.0
        self._begun = self._ended = self._images = 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time within is time spent waiting for data."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before
        self._begun += 1

    def add(self, images: int) -> None:
        """A step with a global batch of `images` is done."""
        self._images += images
        self._ended += 1

    def read(self) -> dict[str, float]:
        """Since the last reading: images_per_s over all processes, data_wait (share of the time), mfu (where the card
        is known), and memory_gib at most so far (of the GPU, else of the process). Where no step was begun since then,
        all but the memory is that of the last reading."""
        memory = {"memory_gib": peak_memory(self.world.device)}
        if self._last and not self._begun:
            return self._last | memory
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate = self._begun * self._images / max(self._ended, 1) / seconds
        values = {"images_per_s": rate, "data_wait": self._waited / seconds}
        if self.peak is not None:
            values["mfu"] = mfu(self.macs, rate / self.world.size, self.peak)
        self._last = values
        self._begin()
        return values | memory


def card_peak(device: torch.device, precision: Precision) -> float | None:
    """The card's peak at the arithmetic that a run of `precision` uses; None on a CPU or an unknown card."""
    if device.type != "cuda":
        return None
    return peak(torch.cuda.get_device_name(device), precision)


def peak_memory(device: torch.device) -> float:
    """The most memory so far, in GiB: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def scale_range(network: nn.Module) -> Reading | None:
    """The least and largest learned scale of cosine attention over layers and heads (Appendix C says 5 to 50)."""
    scales = [module.scale.detach() for module in network.modules() if isinstance(module, CosineSimilarity)]
    return Reading(torch.stack(torch.aminmax(torch.cat(scales))).double()) if scales else None
