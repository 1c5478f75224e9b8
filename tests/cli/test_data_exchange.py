"""`import` and `export-weights`: round trips are exact, and nothing but tensors is read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hdit_repro import jobs
from hdit_repro.models import load_k_diffusion
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.data import DATASETS, DatasetFacts
from hdit_repro.spec.run import Run
from hdit_repro.stages.sample import trained_network

Command = Callable[[str], Any]
REFERENCE = Path(__file__).resolve().parents[1] / "reference"


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


def test_k_diffusion_in_and_out_is_exact(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = adapted(tmp_path)
    like = like_row(tmp_path, config, monkeypatch)
    said = command(f"import --from k-diffusion --name theirs --like {like} {file}")
    assert said.code == 0, said.err
    run, network = imported("theirs", tmp_path)
    assert same(network.state_dict(), load_k_diffusion(config, file).state_dict())
    assert command("export-weights --run theirs --to k-diffusion out.safetensors").code == 0
    assert same(load_file(tmp_path / "out.safetensors"), load_file(file))
    with safe_open(tmp_path / "out.safetensors", "pt") as opened:
        exported = json.loads(opened.metadata()["config"])
    again = tmp_path / "again.json"
    again.write_text(json.dumps(exported))
    assert same(load_k_diffusion(again, tmp_path / "out.safetensors").state_dict(), network.state_dict())
    assert command(f"import --from k-diffusion --name back --like {like} out.safetensors").code == 0
    other, same_network = imported("back", tmp_path)
    assert other.model == run.model
    assert same(same_network.state_dict(), network.state_dict())
    assert other.id != run.id  # of another file
    assert command("export-weights --run theirs --to safetensors ours.safetensors").code == 0
    assert same(load_file(tmp_path / "ours.safetensors"), network.state_dict())
    card = (tmp_path / "ours.md").read_text()
    assert run.training.imported in card
    assert "Numbers: not measured" in card
    assert "Licence: " in card
    assert command("train --run theirs").err.strip().endswith("is done")


def like_row(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row on data with as many classes as the network has."""
    classes = json.loads(config.read_text()).get("dataset", {}).get("num_classes", 0)
    monkeypatch.setitem(DATASETS, "emoji", DatasetFacts(3_781, classes, 64))
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "jobs" / "base.toml").write_text(
        'experiment = "base"\ntitle = "Base"\n[row.base]\nextends = "table1/E"\n'
        'data = { dataset = { kind = "emoji" } }\n'
    )
    return "base"


def test_a_torch_file_is_read_for_its_averages_only(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, config = adapted(tmp_path)
    like = like_row(tmp_path, config, monkeypatch)
    averages = load_file(file)
    state = {
        "model": {name: torch.zeros_like(tensor) for name, tensor in averages.items()},
        "model_ema": averages,
        "config": json.loads(config.read_text()),
        "step": 7,
    }
    torch.save(state, tmp_path / "theirs.pth")
    assert command(f"import --from k-diffusion --name pth --like {like} theirs.pth").code == 0
    assert same(imported("pth", tmp_path)[1].state_dict(), load_k_diffusion(config, file).state_dict())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_what_is_refused_leaves_no_run(command: Command, tmp_path: Path) -> None:
    file, _ = adapted(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model_ema": Evil()}))
    torch.save({"model_ema": Evil()}, tmp_path / "evil.pt")
    save_file(load_file(file), tmp_path / "bare.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-100])
    for line in (
        "--name x evil.pth",
        "--name x evil.pt",
        "--name x bare.safetensors",
        "--name x cut.safetensors",
        "--name x nowhere.safetensors",
        "--name table1 theirs.safetensors",
        "--name ../x theirs.safetensors",
        "--name x --like table9 theirs.safetensors",
    ):
        said = command(f"import --from k-diffusion {line}")
        assert said.code == 2, line
        assert "Traceback" not in said.err
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "jobs").exists()
    assert not (tmp_path / "runs").exists()
    for line in ("--run table1/E --to k-diffusion out.safetensors", "--run table1/E --to safetensors out.pth"):
        assert command(f"export-weights {line}").code == 2
