"""What the trainer takes where nobody said how the batch is to go through the card."""

from types import SimpleNamespace

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.cost.memory import ROOM, training_memory
from hdit_repro.errors import RunError
from hdit_repro.models.backends import Backend
from hdit_repro.spec.training import Phase
from hdit_repro.training.fitting import Fitting, fitting, onto

RUN = jobs.find("table1/E", "mini").run


def room(draws, recompute=False):
    found = training_memory(RUN.model, draws, RUN.training.precision, recompute=recompute, averages=2)
    return int(found.total / ROOM) + 64


def test_a_cpu_and_a_wish_are_left_alone():
    assert fitting(RUN, torch.device("cpu"), 1, 1, Fitting(0, False)) == (0, False)
    assert fitting(RUN, torch.device("cuda"), 1, 1, Fitting(8, False)) == (8, False)
    assert fitting(RUN, torch.device("cuda"), 1, 1, Fitting(0, True)) == (0, True)


def test_a_batch_that_fits_is_whole_and_one_that_does_not_is_cut():
    batch = RUN.training.batch
    assert onto(room(batch), RUN, 1, 2) == (0, False)
    assert onto(room(batch - 1), RUN, 1, 2) == (batch // 2, False)
    assert onto(room(1, recompute=True), RUN, 1, 2) == (1, True)
    training = msgspec.structs.replace(RUN.training, growth=(Phase(steps=1, batch=2 * batch),))
    grows = msgspec.structs.replace(RUN, training=training)
    assert onto(room(batch), grows, 1, 2) == (batch, False), "the largest batch of the schedule is cut"
    with pytest.raises(RunError, match="not even one image"):
        onto(1 << 20, RUN, 1, 2)


@pytest.mark.parametrize(("row", "fast", "cut"), [("E", None, 2), ("E", object(), 1), ("A", None, 1)])
def test_where_tiles_keep_the_keys_that_they_share_less_is_taken(monkeypatch, row, fast, cut):
    """On a card without natten and without what Triton needs; global attention has no tiles."""
    run = jobs.find(f"table1/{row}", "mini").run
    batch = run.training.batch
    memory = int(training_memory(run.model, batch, run.training.precision, averages=2).total / ROOM) + 64
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory))
    monkeypatch.setattr("hdit_repro.training.fitting.choose", lambda: Backend("a test's", "", fast))
    found = fitting(run, torch.device("cuda"), 1, 2, Fitting(0, False))
    assert found == (batch // cut if cut > 1 else 0, False)
