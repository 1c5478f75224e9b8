"""The estimate of a step's memory against the peak of a real one: every live tensor counted as it comes and goes."""

import weakref

import msgspec
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdit_repro import jobs
from hdit_repro.cost.memory import ROOM, fit, training_memory
from hdit_repro.data.loader import Batch
from hdit_repro.spec.run import Run
from hdit_repro.training.acceleration import accelerated
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import Fed
from hdit_repro.training.loop import new_state
from hdit_repro.training.step import Stepper

TOLERANCE = 0.2
BATCH = 12


class Living(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, until each is freed."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage):
        if storage._cdata not in self.alive:
            self.alive[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key):
        self.now -= self.alive.pop(key)


def changed(row, precision, **model):
    tree = msgspec.to_builtins(jobs.find(f"table1/{row}", "smoke").run)
    tree["training"] |= {"batch": BATCH, "steps": 2, "growth": [], "precision": precision}
    tree["model"] |= model
    return msgspec.convert(tree, Run)


def fed(run, step):
    draws = torch.arange(step * BATCH, (step + 1) * BATCH)
    side = run.data.resolution
    images = torch.zeros(BATCH, 3, side, side, dtype=torch.uint8)
    return Fed(step * BATCH, BATCH, Batch(draws, images, torch.zeros(BATCH, dtype=torch.int64)))


def peak_of_a_step(run, recompute, microbatch):
    """Bytes at most in a run's second step, in which moments exist."""
    device = torch.device("cpu")
    with Living() as living:
        state = new_state(run, device)
        network = accelerated(state.network.train(), recompute=recompute, compiled=False)
        step = Stepper(run, state, World(device=device), microbatch, network)
        step(fed(run, 0))
        living.most = living.now
        step(fed(run, 1))
    return living.most


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("row", "model"),
    [
        ("R1", {}),
        ("A", {}),
        ("B1", {}),
        ("E", {}),
        ("E", {"widths": [48, 96], "heads": [1, 2], "depths": [2, 1]}),
    ],
)
def test_the_estimate_is_the_peak_within_a_fifth(row, model, precision, recompute):
    run = changed(row, precision, **model)
    peak = peak_of_a_step(run, recompute, 0)
    assert training_memory(run.model, BATCH, precision, recompute=recompute).total == pytest.approx(peak, rel=TOLERANCE)


def test_pieces_take_what_a_smaller_batch_takes():
    run = changed("E", "float32")
    peak = peak_of_a_step(run, False, 4)
    assert training_memory(run.model, 4).total == pytest.approx(peak, rel=TOLERANCE)
    assert peak < peak_of_a_step(run, False, 0) / 1.8


def test_what_fits_is_taken_whole_then_in_pieces_then_recomputed():
    model = changed("E", "float32").model

    def room(draws, recompute=False):
        return int(training_memory(model, draws, recompute=recompute).total / ROOM) + 64  # bytes are rounded on the way

    whole, pieces, again = (fit(model, 10, room(*at)) for at in ((10,), (4,), (1, True)))
    assert whole is not None
    assert pieces is not None
    assert again is not None
    assert whole[:2] == (10, False)
    assert pieces[:2] == (4, False)
    assert again[:2] == (1, True)
    assert fit(model, 10, room(9))[:2] == (5, False)  # two equal pieces, and not nine and one
    assert whole.memory == training_memory(model, 10)
    assert fit(model, 10, training_memory(model, 0, recompute=True).total) is None
