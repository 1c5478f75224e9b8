"""How a run's batch goes through the card that is here, where nobody said."""

from __future__ import annotations

from typing import NamedTuple

import torch

from hdit_repro.cost.memory import fit
from hdit_repro.errors import RunError
from hdit_repro.models.backends import choose
from hdit_repro.spec.model import Hourglass, NeighborhoodAttention
from hdit_repro.spec.run import Run

GATHERED = 1.35
"""How many times the estimate a step takes on a card where neighborhoods go through plain torch: each tile keeps the
keys that it shares with others. What autograd keeps then was counted, at 1.28 to 1.31 times."""


class Fitting(NamedTuple):
    """`microbatch` draws at once in each process (0: all), and whether activations are computed again."""

    microbatch: int
    recompute: bool


def fitting(run: Run, device: torch.device, processes: int, averages: int, asked: Fitting) -> Fitting:
    """What is asked for; where nothing is and the device is a card, what `plan` says of a card of its memory.

    Args:
        averages: of the weights, the run's own included.

    Raises:
        RunError: by the estimate not even one draw fits.
    """
    if device.type != "cuda" or asked != Fitting(0, False):
        return asked
    memory = torch.cuda.get_device_properties(device).total_memory
    return onto(memory, run, processes, averages, GATHERED if gathers(run) else 1.0)


def gathers(run: Run) -> bool:
    """Whether neighborhoods of the run go through plain torch here, for want of a faster backend."""
    levels = run.model.levels if isinstance(run.model, Hourglass) else ()
    return any(isinstance(level.attention, NeighborhoodAttention) for level in levels) and choose().fast is None


def onto(memory: int, run: Run, processes: int, averages: int, times: float = 1.0) -> Fitting:
    """How the largest batch of the schedule fits into `memory` bytes, where a step takes so many `times` the estimate.

    Raises:
        RunError: as `fitting`.
    """
    draws = -(-max(span.batch for span in run.training.spans) // processes)
    found = fit(run.model, draws, int(memory / times), run.training.precision, averages=averages, processes=processes)
    if found is None:
        raise RunError(
            "not even one image of this run fits on the card, by the estimate",
            found=f"a card of {memory / 2**30:.1f} GiB",
            expected="more memory",
            fix="take a larger card, or try --microbatch 1 --recompute all the same",
        )
    return Fitting(0 if found.microbatch == draws else found.microbatch, found.recompute)
