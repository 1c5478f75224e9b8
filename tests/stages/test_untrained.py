"""The network before training: it says zero, and where that is so a stand-in does."""

from __future__ import annotations

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.models.build import build
from hdit_repro.stages import untrained
from hdit_repro.training.constant import Constant

ROWS = {"table1/E": 3, "table1/R1": 6, "table1/R4": 3}


@pytest.mark.parametrize("row", ROWS)
def test_a_network_that_says_zero_has_a_stand_in_wherever_it_runs(row):
    """The question is put to a CPU: a card that is not there is asked nothing."""
    run = jobs.find(row, "smoke").run
    found = untrained.untrained_network(run, torch.device("cuda"))
    side = run.data.resolution
    out = found(torch.ones(2, 3, side, side), torch.ones(2), class_cond=torch.zeros(2, dtype=torch.int64))
    assert isinstance(found, Constant)
    assert out.shape == (2, ROWS[row], side, side)
    assert not out.any()


def test_a_network_that_says_something_is_itself_and_moves(monkeypatch):
    def awake(model, seed):
        network = build(model, seed=seed)
        torch.nn.init.ones_(network.patch_out.proj.weight)
        return network

    monkeypatch.setattr(untrained, "build", awake)
    found = untrained.untrained_network(jobs.find("table1/E", "smoke").run, torch.device("meta"))
    assert not isinstance(found, Constant)
    assert {parameter.device.type for parameter in found.parameters()} == {"meta"}
    assert not found.training
