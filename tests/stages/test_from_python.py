"""The README's example of the package from Python runs as it stands, on a run whose training is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from hdit_repro.models import build
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.run import Run
from hdit_repro.stages import sample


def test_the_readmes_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    folders: list[Path] = []

    def trained(run: Run, folder: RunFolder, device: torch.device) -> torch.nn.Module:
        folders.append(folder.path)
        return build(run.model, run.seed).to(device).eval()

    monkeypatch.setattr(sample, "trained_network", trained)
    names: dict[str, object] = {}
    exec(compile(example.replace("(50,", "(3,"), "README.md", "exec"), names)
    images, run = names["images"], names["run"]
    assert isinstance(images, torch.Tensor)
    assert isinstance(run, Run)
    assert images.shape == (4, 3, 16, 16)
    assert bool(images.isfinite().all())
    assert images.abs().max() <= 1
    assert folders == [Path("runs") / run.id]
    assert capsys.readouterr().out == "37167104\n"
