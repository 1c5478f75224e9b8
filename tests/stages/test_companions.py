"""What a number below paper scale is read against: of distances alone, and nothing is drawn for other metrics."""

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.stages import evaluate
from hdit_repro.stages.settings import Settings

LOSSES = {"loss-end": 0.5, "loss-constant": 1.0}


@pytest.mark.parametrize(
    ("scale", "metrics", "expected"),
    [
        ("smoke", ("frechet",), {"untrained": 4.0, "floor": 3.0, **LOSSES}),
        ("smoke", ("kernel", "frechet"), {"untrained": 4.0, "floor": 3.0, **LOSSES}),
        ("smoke", ("kernel", "precision-recall"), LOSSES),
        ("paper", ("frechet",), LOSSES),
    ],
)
def test_companions_are_distances_where_a_distance_is_measured(
    scale: str, metrics: tuple[str, ...], expected: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.find("table1/E", scale)
    evaluation = msgspec.structs.replace(job.run.evaluation, metrics=metrics)
    job = msgspec.structs.replace(job, run=msgspec.structs.replace(job.run, evaluation=evaluation))
    drawn, said = [], []

    def untrained(*_: Any) -> Any:
        drawn.append("untrained")
        return SimpleNamespace(mean=np.array([2.0]), cov=np.eye(1))

    monkeypatch.setattr(evaluate, "training_summary", lambda _: SimpleNamespace(loss_end=0.5, loss_constant=1.0))
    monkeypatch.setattr(evaluate, "untrained_statistics", untrained)
    reference: Any = SimpleNamespace(mean=np.array([0.0]), cov=np.eye(1), floor=lambda samples: 3.0)
    folder: Any = None
    extractor: Any = None
    found = evaluate.companions(
        job, folder, extractor, reference, Settings(device="cpu"), torch.device("cpu"), said.append
    )
    assert found == pytest.approx(expected)
    assert drawn == ["untrained"] * ("untrained" in expected)
    assert [progress.note for progress in said] == ["samples of the untrained network"] * len(drawn)
