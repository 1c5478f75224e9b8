"""Losses that are not finite change nothing and stop the third time; spikes are written down with their images."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from hdit_repro.data.order import index_of
from hdit_repro.errors import RunError
from hdit_repro.training import step
from hdit_repro.training.draws import draw_keys
from hdit_repro.training.journal import events_path
from hdit_repro.training.log import read_log
from hdit_repro.training.loop import LoopSettings, new_state, train
from hdit_repro.training.watchdog import LIMIT, SPIKE, WARM, Watchdog

EVERY = LoopSettings(torch.device("cpu"), log_every=1, save_seconds=-1.0)


def quiet(*_):
    pass


def spoil(monkeypatch, run, steps, factor=math.nan):
    """Multiply the loss of some steps (numbers of steps, from 0)."""
    plain = step.make_objective

    def objective(of):
        real = plain(of)

        def spoiled(network, draws):
            at = next(number for number in range(run.training.total_steps) if of_step(run, number, draws))
            return real(network, draws) * (factor if at in steps else 1.0)

        return spoiled

    monkeypatch.setattr(step, "make_objective", objective)


def of_step(run, number, draws):
    first, count = run.training.batch_at(number)
    return torch.equal(draw_keys(run.seed, range(first, first + count)), draws.keys)


def test_a_run_with_one_bad_step_recovers(tiny, tiny_images, tmp_path, monkeypatch):
    run = tiny(steps=6)
    spoil(monkeypatch, run, {2})
    states = {}
    plain = step.Stepper.__call__

    def watched(self, fed, leave=False):
        before = {n: p.detach().clone() for n, p in self.state.network.named_parameters()}
        averages = {n: w.clone() for n, w in self.state.ema.weights.items()}
        out = plain(self, fed, leave)
        moved = any(not torch.equal(before[n], p) for n, p in self.state.network.named_parameters())
        moved_average = any(not torch.equal(averages[n], w) for n, w in self.state.ema.weights.items())
        states[self.state.step] = (out.verdict, moved, moved_average)
        return out

    monkeypatch.setattr(step.Stepper, "__call__", watched)
    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY, quiet)
    fine = ("fine", True, True)
    assert states == {1: fine, 2: fine, 3: ("skip", False, False), 4: fine, 5: fine, 6: fine}
    assert (state.step, state.watchdog.skipped, state.watchdog.taken) == (6, 1, 5)
    lines = read_log(tmp_path / "m.jsonl")
    assert [(line["step"], line["skipped"]) for line in lines] == [(1, 0), (2, 0), (4, 1), (5, 1), (6, 1)]
    event = read_log(events_path(tmp_path / "m.jsonl"))[0]
    assert (event["step"], event["event"], event["loss"]) == (3, "skip", "nan")
    assert event["images"] == index_of(range(16, 24), len(tiny_images), 0).tolist()


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_three_bad_steps_in_a_row_stop_and_name_the_last_good_checkpoint(
    tiny, tiny_images, tmp_path, monkeypatch, factor
):
    run = tiny(steps=10)
    spoil(monkeypatch, run, {2, 4, 5, 6}, factor)
    with pytest.raises(RunError, match="3 steps in a row") as caught:
        train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY, quiet)
    assert caught.value.exit_code == 1
    assert str(tmp_path / "c" / "step-00000006.safetensors") in str(caught.value)
    assert "at step 7" in str(caught.value)
    for path in (tmp_path / "c").glob("step-*.safetensors"):
        assert all(torch.isfinite(value).all() for value in load_file(path).values())


def test_a_run_whose_first_steps_are_all_bad_can_be_resumed(tiny, tiny_images, tmp_path, monkeypatch):
    run = tiny(steps=3)
    with monkeypatch.context() as patch:
        spoil(patch, run, {0, 1})
        straight = train(run, tiny_images, tmp_path / "a", tmp_path / "a.jsonl", EVERY, quiet)

        class Leave(Exception):
            pass

        def leave(done, *_):
            if done == 2:
                raise Leave

        with pytest.raises(Leave):
            train(run, tiny_images, tmp_path / "b", tmp_path / "b.jsonl", EVERY, leave)
        resumed = train(run, tiny_images, tmp_path / "b", tmp_path / "b.jsonl", EVERY, quiet)
    assert resumed.watchdog.tensor().tolist() == straight.watchdog.tensor().tolist()
    for name, value in straight.tensors().items():
        assert torch.equal(resumed.tensors()[name], value), name


def test_a_spike_is_written_down_with_its_images(tiny, tiny_images, tmp_path, monkeypatch):
    run = tiny(steps=WARM + 4)
    spoil(monkeypatch, run, {WARM + 1}, factor=20.0)
    train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", LoopSettings(torch.device("cpu")), quiet)
    events = [json.loads(line) for line in events_path(tmp_path / "m.jsonl").read_text().splitlines()]
    assert [(event["step"], event["event"]) for event in events] == [(WARM + 2, "spike")]
    first = 8 * (WARM + 1)
    assert events[0]["first_draw"] == first
    assert events[0]["images"] == index_of(range(first, first + 8), len(tiny_images), 0).tolist()


def test_verdicts():
    dog = Watchdog()
    assert [dog.judge(1.0, 1.0) for _ in range(WARM)] == ["fine"] * WARM
    assert dog.mean == pytest.approx(1.0)
    assert dog.judge(SPIKE * 1.01, 1.0) == "spike"
    assert [dog.judge(1.0, math.inf), dog.judge(math.nan, 1.0)] == ["skip", "skip"]
    assert dog.judge(1.0, 1.0) == "fine"
    assert [dog.judge(math.nan, 1.0) for _ in range(LIMIT)] == ["skip"] * (LIMIT - 1) + ["stop"]
    other = Watchdog()
    other.restore(dog.tensor())
    assert vars(other) == vars(dog)


def test_a_large_early_loss_is_no_spike():
    dog = Watchdog()
    assert [dog.judge(loss, 1.0) for loss in (1.0, 50.0)] == ["fine", "fine"]
    assert dog.mean == pytest.approx(25.5)


def test_further_averages_follow_their_own_decay(tiny, tiny_images, tmp_path):
    run = tiny(steps=3)
    settings = EVERY._replace(averages=(0.5, 0.0))
    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, quiet)
    for name, parameter in state.network.named_parameters():
        assert torch.equal(state.averages[0.0].weights[name], parameter.detach()), name
    alone = train(run, tiny_images, tmp_path / "d", tmp_path / "n.jsonl", EVERY, quiet)
    for name, value in alone.tensors().items():
        assert torch.equal(state.tensors()[name], value), name
    assert new_state(run, torch.device("cpu"), (0.5,)).averages.keys() == {0.5}
