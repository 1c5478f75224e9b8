"""What is part of a run's identity, and what is not."""

import re
from pathlib import Path

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
        (("sampling", "sigma_max"), 80.0, IDS[1:]),
        (("evaluation", "metrics"), ["frechet"], IDS[2:]),
    ],
)
def test_ids_are_nested(path, value, moved):
    run = jobs.find("table1/E").run
    changed = with_change(run, path, value)
    assert [name for name in IDS if getattr(run, name) != getattr(changed, name)] == list(moved)


def test_one_mapping_network_has_one_identity():
    """GEGLU written out is what unset is; a row that takes back what it extends has the id of one that never had it."""
    run = jobs.find("table1/E").run
    assert with_change(run, ("model", "mapping", "activation"), "geglu") == run
    assert with_change(run, ("model", "mapping", "activation"), "geglu").training_id == run.training_id
    assert with_change(run, ("model", "mapping", "activation"), "gelu").training_id != run.training_id


@pytest.mark.parametrize(("stage", "moved"), [("train", IDS), ("sample", IDS[1:]), ("evaluate", IDS[2:])])
def test_a_raised_numerics_version_makes_new_ids(monkeypatch, stage, moved):
    before = jobs.find("table1/E").run
    ids = {name: getattr(before, name) for name in IDS}
    monkeypatch.setitem(numerics.NUMERICS, stage, 99)
    after = msgspec.structs.replace(before)
    assert [name for name in IDS if getattr(after, name) != ids[name]] == list(moved)


def test_ids_are_those_that_the_readme_prints():
    """Results lie under these ids: one that moves without a raised number loses them."""
    root = Path(__file__).parents[2]
    lines = re.findall(
        r"runs/(\w+)/samples/(\w+)/grid.png  (table1/\w+)", (root / "README.md").read_text(encoding="utf-8")
    )
    assert len(lines) >= 2
    for training, sampling, name in lines:
        run = jobs.find(name, "smoke").run
        assert (run.training_id, run.sampling_id) == (training, sampling)


def leaves(tree, path=()):
    """Every plain value of a run's tree, with its path; lists count as one."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        elif name != "kind":
            yield (*path, name), value


OTHERS = [True, False, 2, 1, 0, 3, 4, 50, 0.25, 0.5, 8.0, "adm", "none", "balanced", "raw", "tf32", None]


@pytest.mark.parametrize("row", ["E", "R1"])
def test_every_value_of_a_run_is_part_of_its_identity(row):
    run = jobs.find(f"table1/{row}").run
    moved, stuck = set(), set()
    for path, value in leaves(msgspec.to_builtins(run)):
        for other in OTHERS:
            if other == value or isinstance(value, bool) != isinstance(other, bool):
                continue
            try:
                changed = with_change(run, path, other)
            except msgspec.ValidationError:
                continue
            if changed == run:  # 1 where 1.0 stood
                continue
            moved.add(path)
            part = {"sampling": IDS[1:], "evaluation": IDS[2:]}.get(path[0], IDS)
            if [name for name in IDS if getattr(run, name) != getattr(changed, name)] != list(part):
                stuck.add((path, other))
    assert stuck == set()
    assert len(moved) >= 25, "most values have another that can be"


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
