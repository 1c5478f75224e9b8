"""Losses that are not finite change nothing and stop the third time; spikes are written down with their images."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from hdit_repro.data.order import index_of
from hdit_repro.errors import RunError
from hdit_repro.training import step
from hdit_repro.training.distributed import World
from hdit_repro.training.draws import draw_keys
from hdit_repro.training.feed import feed
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
    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", EVERY, quiet)
    assert (state.step, state.watchdog.skipped, state.watchdog.taken) == (6, 1, 5)
    lines = read_log(tmp_path / "m.jsonl")
    assert [(line["step"], line["skipped"]) for line in lines] == [(1, 0), (2, 0), (4, 1), (5, 1), (6, 1)]
    event = read_log(events_path(tmp_path / "m.jsonl"))[0]
    assert (event["step"], event["event"], event["loss"]) == (3, "skip", "nan")
    assert event["images"] == index_of(range(16, 24), len(tiny_images), 0).tolist()


def test_a_bad_step_moves_neither_weights_nor_moments_nor_averages(tiny, tiny_images, monkeypatch):
    run = tiny(steps=6)
    spoil(monkeypatch, run, {0, 3})
    state = new_state(run, torch.device("cpu"), (0.5,))
    stepper, seen = step.Stepper(run, state, World()), []
    for fed in feed(run, tiny_images, 0, 6):
        before = {name: value.clone() for name, value in state.tensors().items() if name != "watchdog"}
        verdict = stepper(fed).verdict
        after = state.tensors()
        seen.append(
            (verdict, {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])})
        )
    everything = {"network", "ema", "ema@0", "optimizer"}
    first, later = everything - {"optimizer"}, ("fine", everything)  # moments are there once a step is taken
    assert [kinds for verdict, kinds in seen if verdict == "skip"] == [set(), set()]
    assert seen[1][1] - {"optimizer"} == first
    assert [seen[at] for at in (2, 4, 5)] == [later] * 3


def test_three_skipped_steps_in_a_row_leave_no_step_in_the_moments(tiny, tiny_images, monkeypatch):
    run = tiny(steps=4)
    spoil(monkeypatch, run, {1, 2})
    state = new_state(run, torch.device("cpu"))
    stepper = step.Stepper(run, state, World())
    for fed in feed(run, tiny_images, 0, 4):
        stepper(fed)
    assert {float(value) for name, value in state.tensors().items() if name.endswith(".step")} == {2.0}


@pytest.mark.parametrize("bad", [set(), {0}, {2, 3}])
def test_the_loop_that_does_not_wait_takes_the_steps_of_one_that_does(tiny, tiny_images, tmp_path, monkeypatch, bad):
    run = tiny(steps=5)
    spoil(monkeypatch, run, bad)
    twin = new_state(run, torch.device("cpu"), (0.5,))
    twin.network.train()
    waiting = step.Stepper(run, twin, World())
    outcomes = [waiting(fed) for fed in feed(run, tiny_images, 0, 5)]
    settings = LoopSettings(torch.device("cpu"), log_every=1, averages=(0.5,))
    state = train(run, tiny_images, tmp_path / "c", tmp_path / "m.jsonl", settings, quiet)
    expected, found = twin.tensors(), state.tensors()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    lines = read_log(tmp_path / "m.jsonl")
    assert [line["loss"] for line in lines] == [one.loss for one in outcomes if one.verdict == "fine"]


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


def test_the_running_mean_is_plain_at_first_and_then_forgets_two_percent_a_step():
    dog = Watchdog()
    losses = [1.0 + number % 7 for number in range(50)]
    for loss in losses:
        dog.judge(loss, 1.0)
    assert dog.mean == pytest.approx(sum(losses) / 50), "1 - 1 / 50 is 0.98"
    mean = dog.mean
    for _ in range(30):
        dog.judge(2.0, 1.0)
    assert dog.mean == pytest.approx(2 + (mean - 2) * 0.98**30)


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
