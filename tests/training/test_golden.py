"""The loss of the first 50 steps of a small fixed run, so that a change that moves training is seen.

The curve was computed on an x86-64 CPU with one thread. Another order of sums (microbatches of one) moves the losses
by some 2e-6 over these steps, a learning rate 1 % off by 8e-3; the tolerance is 1e-3, and ten times that for the
gradient's norm. To renew it after a change that is meant: raise NUMERICS["train"], and write what `curve` returns into
golden_curve.json.
"""

import json
from pathlib import Path

import msgspec
import numpy as np
import torch

from hdit_repro.training.distributed import World
from hdit_repro.training.feed import feed
from hdit_repro.training.loop import new_state
from hdit_repro.training.step import Stepper

FILE = Path(__file__).with_name("golden_curve.json")
TOLERANCE = 1e-3


def curve(run, images, microbatch=0):
    """(losses, gradient norms) of all steps."""
    state = new_state(run, torch.device("cpu"))
    state.network.train()
    stepper = Stepper(run, state, World(), microbatch)
    outcomes = [stepper(fed) for fed in feed(run, images, 0, run.training.total_steps)]
    return [one.loss for one in outcomes], [one.grad_norm for one in outcomes]


def test_the_first_fifty_losses(tiny, tiny_images):
    golden = json.loads(FILE.read_text())
    losses, norms = curve(tiny(steps=50), tiny_images)
    np.testing.assert_allclose(losses, golden["loss"], rtol=TOLERANCE)
    np.testing.assert_allclose(norms, golden["grad_norm"], rtol=10 * TOLERANCE)


def test_the_tolerance_sees_a_rate_one_hundredth_off(tiny, tiny_images):
    run = tiny(steps=50)
    optimizer = msgspec.to_builtins(run.training.optimizer)
    optimizer["learning_rate"] *= 1.01
    losses, _ = curve(tiny(steps=50, optimizer=optimizer), tiny_images)
    golden = json.loads(FILE.read_text())["loss"]
    assert (np.abs(np.array(losses) / golden - 1) > TOLERANCE).any()
