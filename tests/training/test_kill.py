"""Runs of two processes, killed at any moment, end with the bits of one never disturbed."""

import os
import random
import time

import msgspec
import torch

from hdit_repro.training.checkpoint import newest
from hdit_repro.training.log import numbers, read_log

KILLS = 20 if os.environ.get("CI_LONG") == "1" else 3
MOST_STEPS = 5
"""Steps that an attempt may take before it is killed; some more pass until the kill has come."""
STEPS = 8 * KILLS + 8


def finished(run, folder):
    found = newest(folder / "checkpoints", run.training_id)
    assert found.step == STEPS
    return found.tensors, [numbers(line) for line in read_log(folder / "metrics.jsonl")]


def wait_until(holds, process, seconds=30):
    until = time.monotonic() + seconds
    while not holds() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


def steps_logged(folder):
    return len(read_log(folder / "metrics.jsonl"))


def run_of_everything(tiny):
    """A batch that grows half-way, mirrored and augmented images, dropout, dropped labels, two averages."""
    half = STEPS // 2
    run = tiny(steps=half, growth=[{"steps": STEPS - half, "batch": 12}])
    return msgspec.structs.replace(run, data=msgspec.structs.replace(run.data, flip=True))


def test_a_run_killed_again_and_again_ends_with_the_same_bits(tiny, processes, tmp_path):
    """Every second kill comes while a checkpoint is being written, the others at any moment of an attempt."""
    run = run_of_everything(tiny)
    how = {"averages": [0.9], "microbatch": 2, "bad_steps": [STEPS // 3]}
    calm = processes(run, tmp_path / "calm", 2, **how)
    assert calm.join() == [0, 0]
    expected, lines = finished(run, tmp_path / "calm")
    assert lines[-1]["skipped"] == 1

    chance = random.Random(0)
    folder = tmp_path / "killed"
    cut_short = 0
    for kill in range(KILLS):
        while_writing = kill % 2 == 0
        (folder / "writing").unlink(missing_ok=True)
        before = steps_logged(folder)
        started = processes(run, folder, 2, save_seconds=-1.0, slow_writing=while_writing, pause=0.05, **how)
        if while_writing:
            assert wait_until((folder / "writing").exists, started.all[0])
            time.sleep(chance.uniform(0, 0.1))
        else:
            steps = before + chance.randint(0, MOST_STEPS)
            wait_until(lambda steps=steps: steps_logged(folder) >= steps, started.all[0])
            time.sleep(chance.uniform(0, 0.1) if steps > before else chance.uniform(0, 1.0))
        for rank in chance.choice([(0,), (0, 1)] if while_writing else [(0,), (1,), (0, 1)]):
            started.kill(rank)
        codes = started.join(30)
        assert None not in codes, "a process did not notice that the other is gone"
        assert -9 in codes, "the run ended before it was killed"
        cut_short += bool(list((folder / "checkpoints").glob(".*.partial")))
    last = processes(run, folder, 2, save_seconds=-1.0, **how)
    assert last.join() == [0, 0]
    found, log = finished(run, folder)
    assert cut_short, "no kill came while a checkpoint was being written"
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert log == lines
    assert (folder / "metrics.events.jsonl").read_text() == (tmp_path / "calm" / "metrics.events.jsonl").read_text()
    assert not list((folder / "checkpoints").glob(".*.partial"))
