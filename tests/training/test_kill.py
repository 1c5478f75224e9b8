"""Runs of two processes, killed at any moment, end with the bits of one never disturbed."""

import os
import random
import time

import pytest
import torch

from hdit_repro.training.checkpoint import newest
from hdit_repro.training.log import numbers, read_log

KILLS = 20 if os.environ.get("CI_LONG") == "1" else 3
STEPS = 24


def finished(run, folder):
    found = newest(folder / "checkpoints", run.training_id)
    assert found.step == STEPS
    return found.tensors, [numbers(line) for line in read_log(folder / "metrics.jsonl")]


def wait_for(path, process, seconds=30):
    until = time.monotonic() + seconds
    while not path.exists() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.005)
    return path.exists()


def test_a_run_killed_again_and_again_ends_with_the_same_bits(tiny, tiny_images, processes, tmp_path):
    run = tiny(steps=STEPS)
    calm = processes(run, tmp_path / "calm", 2)
    assert calm.join() == [0, 0]
    expected, lines = finished(run, tmp_path / "calm")

    chance = random.Random(0)
    folder = tmp_path / "killed"
    kills = cut_short = 0
    while kills < KILLS:
        while_writing = kills % 2 == 0
        (folder / "writing").unlink(missing_ok=True)
        started = processes(run, folder, 2, save_seconds=-1.0, slow_writing=while_writing, pause=0.02)
        if while_writing:
            wait_for(folder / "writing", started.all[0])
            time.sleep(chance.uniform(0, 0.1))
        else:
            time.sleep(chance.uniform(0.2, 2.0))
        victims = chance.choice([(0,), (0, 1)] if while_writing else [(0,), (1,), (0, 1)])
        for rank in victims:
            started.kill(rank)
        codes = started.join(30)
        if 0 not in codes:
            kills += 1
            cut_short += bool(list((folder / "checkpoints").glob(".*.partial")))
        assert None not in codes, "a process did not notice that the other is gone"
        if codes == [0, 0]:
            pytest.fail("the run ended before it was killed often enough")
    last = processes(run, folder, 2, save_seconds=-1.0)
    assert last.join() == [0, 0]
    found, log = finished(run, folder)
    assert cut_short, "no kill came while a checkpoint was being written"
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert log == lines
    assert not list((folder / "checkpoints").glob(".*.partial"))
