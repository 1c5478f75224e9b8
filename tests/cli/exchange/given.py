"""Networks that others released, as tests have them, and rows that take them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hdit_repro import jobs
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.data import DATASETS, DatasetFacts
from hdit_repro.spec.run import Run
from hdit_repro.stages.sample import trained_network

REFERENCE = Path(__file__).resolve().parents[2] / "reference"


def their_files(name: str) -> tuple[Path, Path]:
    folder = REFERENCE / name
    (weights,) = (path for path in folder.glob("*.safetensors") if "weight" in path.name or "model" in path.name)
    return folder / "config.json", weights


def imported(name: str, tmp_path: Path) -> tuple[Run, torch.nn.Module]:
    job = jobs.find(name)
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    return job.run, trained_network(job.run, folder, torch.device("cpu"))


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def adapted(tmp_path: Path, name: str = "hdit-neighborhood") -> tuple[Path, Path]:
    """A reference network with its own configuration inside, as k-diffusion's converter leaves it."""
    config, weights = their_files(name)
    settings = {key: value for key, value in json.loads(config.read_text()).items() if key in ("model", "dataset")}
    file = tmp_path / "theirs.safetensors"
    save_file(load_file(weights), file, {"config": json.dumps(settings)})
    plain = tmp_path / "theirs.json"
    plain.write_text(json.dumps(settings))
    return file, plain


def like_row(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row on data with as many classes as the network has."""
    classes = json.loads(config.read_text()).get("dataset", {}).get("num_classes", 0)
    monkeypatch.setitem(DATASETS, "imagenet", DatasetFacts(1_281_167, classes, 0))
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "jobs" / "base.toml").write_text(
        'experiment = "base"\ntitle = "Base"\n[row.base]\nextends = "table1/E"\n'
    )
    return "base"


def photographs(folder: Path, classes: int, each: int = 2) -> Path:
    """A labelled folder of small pictures."""
    rng = np.random.default_rng(2)
    for number in range(classes * each):
        place = folder / f"class{number % classes:02d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((80, 72), Image.Resampling.BICUBIC).save(place / f"{number}.png")
    return folder


def small_row(name: str, extends: str, sampler: str) -> None:
    """A row that differs from a declared one in how little it draws, and in the feature network that needs no file."""
    Path("jobs").mkdir(exist_ok=True)
    Path("jobs", f"{name}.toml").write_text(
        f'experiment = "{name}"\ntitle = "Few"\n[row.{name}]\nextends = "{extends}"\n'
        f"sampling = {{ count = 4, sampler = {sampler} }}\n"
        'evaluation = { extractor = { kind = "efficientnet-lite0" }, reference = { kind = "dataset" },'
        ' metrics = ["frechet"] }\n'
    )
