"""Paths into a run."""

from __future__ import annotations

import pytest

from hdit_repro import jobs
from hdit_repro.audit.computed import listed, say
from hdit_repro.audit.fields import look, plain
from hdit_repro.errors import UserError


@pytest.mark.parametrize(
    ("run", "path", "value"),
    [
        ("table1/E", "training.batch", 256),
        ("table1/E", "training.samples_seen", 400_000 * 256),
        ("table1/E", "model.widths", (384, 768)),
        ("table1/E", "model.widths.1", 768),
        ("table1/E", "model.kind", "hourglass"),
        ("table1/E", "model.attention.kind", ("neighborhood", "global")),
        ("table1/E", "model.attention.kernel", (7,)),
        ("table1/E", "model.levels.head_width", (64, 64)),
        ("table1/E", "training.optimizer.kind", "AdamW"),
        ("table1/E", "training.spans.0.batch", 256),
        ("imagenet256", "training.growth.2.batch", 2048),
        ("imagenet256", "training.growth.batch", (512, 1024, 2048)),
        ("table1/R1", "model.learn_sigma", True),
    ],
)
def test_paths(run: str, path: str, value: object) -> None:
    assert look(jobs.find(run).run, path) == value


@pytest.mark.parametrize(
    ("run", "path", "message"),
    [
        ("table1/E", "trainin.batch", "did you mean 'training'"),
        ("table1/E", "training.batches", "did you mean 'batch'"),
        ("table1/E", "model.widths.2", "2 members"),
        ("table1/A", "model.attention.kernel", "no member of run.model.attention"),
        ("table1/E", "model.__class__", "no field"),
        ("table1/R1", "edm.sigma_data", "no field 'edm'"),
    ],
)
def test_paths_that_lead_nowhere(run: str, path: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        look(jobs.find(run).run, path)
    assert message in str(caught.value)


def test_values_are_plain() -> None:
    assert plain(True, "x") == ("true", None)
    assert plain((384, 768), "x") == ("[384, 768]", (384, 768))
    assert plain(0.5, "x") == (0.5, None)
    for whole in (jobs.find("table1/E").run.training, None):
        with pytest.raises(UserError, match="no single value"):
            plain(whole, "training")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (31369003008, "31,369,003,008"),
        (657.627414528, "657.627"),
        (4.0, "4"),
        (6340.6, "6,340.6"),
        (1e-9, "1e-09"),
        (False, "false"),
        ((2, 11), "[2, 11]"),
        ("geglu", "geglu"),
    ],
)
def test_numbers_for_a_reader(value: object, words: str) -> None:
    assert say(value) == words
    assert listed((1024, 0.1)) == "[1024, 0.1]"
