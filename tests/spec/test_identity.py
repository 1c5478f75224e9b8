"""What is part of a run's identity, and what is not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro import jobs
from hdit_repro.spec import numerics
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Ema

IDS = ("training_id", "sampling_id", "evaluation_id")


def with_change(run, path, value):
    """A copy of a run with one field changed, through its plain form so that ids are made anew."""
    tree = msgspec.to_builtins(run)
    at = tree
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return msgspec.convert(tree, Run)


@pytest.mark.parametrize(
    ("path", "value", "moved"),
    [
        (("training", "steps"), 7, IDS),
        (("seed",), 3, IDS),
        (("model", "position"), {"kind": "learned"}, IDS),
        (("sampling", "count"), 100, IDS[1:]),
        (("sampling", "seed"), 1, IDS[1:]),
        (("evaluation", "metrics"), ["frechet"], IDS[2:]),
    ],
)
def test_ids_are_nested(path, value, moved):
    run = jobs.find("table1/E").run
    changed = with_change(run, path, value)
    assert [name for name in IDS if getattr(run, name) != getattr(changed, name)] == list(moved)


@pytest.mark.parametrize(("stage", "moved"), [("train", IDS), ("sample", IDS[1:]), ("evaluate", IDS[2:])])
def test_a_raised_numerics_version_makes_new_ids(monkeypatch, stage, moved):
    before = jobs.find("table1/E").run
    ids = {name: getattr(before, name) for name in IDS}
    monkeypatch.setitem(numerics.NUMERICS, stage, 99)
    after = jobs.find("table1/E").run
    assert [name for name in IDS if getattr(after, name) != ids[name]] == list(moved)


def test_tags_are_part_of_the_identity():
    run = jobs.find("table1/E").run
    learned, fixed = (with_change(run, ("model", "position"), {"kind": kind}) for kind in ("learned", "sin-cos"))
    assert learned.training_id != fixed.training_id


def test_a_run_survives_its_plain_form():
    for job in jobs.all_jobs():
        again = msgspec.convert(msgspec.to_builtins(job.run), Run)
        assert again == job.run
        assert again.evaluation_id == job.run.evaluation_id


def test_batch_schedule_of_imagenet256():
    training = jobs.find("imagenet256").run.training
    assert training.samples_seen == 2_000_000 * 256 + 50_000 * 512 + 100_000 * 1024 + 50_000 * 2048 == 742_400_000
    assert training.total_steps == 2_200_000
    assert training.batch_at(0) == (0, 256)
    assert training.batch_at(2_000_000) == (512_000_000, 512)
    assert training.batch_at(2_199_999) == (742_400_000 - 2048, 2048)
    with pytest.raises(ValueError, match="beyond"):
        training.batch_at(2_200_000)


@given(st.integers(0, 239))
def test_the_draws_of_consecutive_steps_follow_each_other(step):
    training = jobs.find("imagenet256", "smoke").run.training
    step = min(step, training.total_steps - 2)
    first, size = training.batch_at(step)
    assert training.batch_at(step + 1)[0] == first + size


def test_ema_decay_warms_up():
    ema = Ema(decay=0.9999, warmup_power=0.75)
    assert ema.decay_at(0) == 0
    assert ema.decay_at(1) == pytest.approx(1 - 2**-0.75)
    assert ema.decay_at(10**6) == 0.9999
    assert Ema(decay=0.9).decay_at(0) == 0.9
