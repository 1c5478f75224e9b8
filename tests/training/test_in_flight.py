"""The loop asks for a step before it learns what came of the one before, and waits only where the state is wanted."""

import contextlib

import pytest
import torch

from hdit_repro.data.loader import Batch
from hdit_repro.training import step, transfer
from hdit_repro.training.distributed import World
from hdit_repro.training.feed import feed
from hdit_repro.training.loop import LoopSettings, new_state, train
from hdit_repro.training.transfer import Carrier, Reading, upload

CPU = torch.device("cpu")


@pytest.fixture
def acts(monkeypatch):
    """What the loop asked of its stepper, in order, with the number of steps taken by then; idle looks left out."""
    seen = []

    def noting(name):
        plain = getattr(step.Stepper, name)

        def noted(self, *rest):
            out = plain(self, *rest)
            if name != "settle" or out is not None:
                seen.append((name, self.state.step))
            return out

        monkeypatch.setattr(step.Stepper, name, noted)

    for name in ("begin", "update", "settle"):
        noting(name)
    return seen


def test_what_came_of_a_step_is_learnt_once_the_next_is_asked_for(tiny, tiny_images, tmp_path, acts):
    settings = LoopSettings(CPU, log_every=1)
    train(tiny(steps=4), tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, lambda *_: None)
    between = [act for n in (1, 2, 3) for act in (("begin", n), ("settle", n), ("update", n + 1))]
    assert acts == [("begin", 0), ("update", 1), *between, ("settle", 4)]


def test_it_is_learnt_at_once_where_the_state_is_wanted(tiny, tiny_images, tmp_path, acts):
    settings = LoopSettings(CPU, log_every=1, snapshots=(2,))
    train(tiny(steps=4), tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, lambda *_: None)
    assert acts.index(("settle", 2)) < acts.index(("begin", 2))
    assert acts.index(("begin", 1)) < acts.index(("settle", 1))


def test_a_step_that_is_not_settled_keeps_the_next_from_the_averages(tiny, tiny_images):
    run = tiny(steps=2)

    stepper = step.Stepper(run, new_state(run, CPU), World())
    for number, fed in enumerate(feed(run, tiny_images, 0, 2)):
        stepper.begin(fed)
        if number:
            with pytest.raises(AssertionError, match="not settled"):
                stepper.update()
        else:
            stepper.update()


def test_on_a_cpu_nothing_is_copied():
    x = torch.arange(3.0).double()
    assert upload(x, CPU) is x
    assert Reading(x).numbers() == [0.0, 1.0, 2.0]
    batch = object()
    assert Carrier(CPU).send(batch).arrived() is batch


def test_images_that_are_sent_ahead_are_waited_for_by_the_device_alone(monkeypatch):
    """Copied in the carrier's stream with a mark behind; who takes them waits for the mark and keeps their memory."""
    done, current = [], ["ours"]

    class Stream(str):
        def wait_event(self, mark):
            done.append((str(self), "waits for", mark.place))

    class Mark:
        def record(self):
            self.place = len(done)
            done.append((current[-1], "marks"))

    class There(torch.Tensor):
        def record_stream(self, stream):
            done.append(("memory stays until", str(stream)))

    @contextlib.contextmanager
    def within(stream):
        current.append(str(stream))
        yield
        current.pop()

    def copied(x, device):
        done.append((current[-1], "copies"))
        return x.as_subclass(There)

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("the carrier's"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(current[-1]))
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    monkeypatch.setattr(transfer, "upload", copied)
    batch = Batch(torch.arange(2), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None)
    sent = Carrier(torch.device("cuda")).send(batch)
    assert done == [("the carrier's", "copies"), ("the carrier's", "marks")]
    assert torch.equal(sent.arrived().images.as_subclass(torch.Tensor), batch.images)
    assert done[2:] == [("ours", "waits for", 1), ("memory stays until", "ours")]
