"""`import` and `export-weights`: what goes in and out again is the same to the bit."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from hdit_repro import jobs
from hdit_repro.cli.exchange import _of_its_size, _toml
from hdit_repro.cli.external import job_file
from hdit_repro.models import load_k_diffusion
from hdit_repro.spec.evaluation import AdmReference
from hdit_repro.spec.external import External
from tests.cli.exchange.given import adapted, imported, like_row, same

Command = Callable[..., Any]


def test_k_diffusion_in_and_out_is_exact(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = adapted(tmp_path)
    like = like_row(tmp_path, config, monkeypatch)
    said = command(f"import --from k-diffusion --name theirs --like {like}", file)
    assert said.code == 0, said.err
    run, network = imported("theirs", tmp_path)
    assert run.evaluation.reference == AdmReference(name="VIRTUAL_imagenet64_labeled"), "as large as its images"
    assert same(network.state_dict(), load_k_diffusion(config, file).state_dict())
    assert command("export-weights --run theirs --to k-diffusion out.safetensors").code == 0
    assert same(load_file(tmp_path / "out.safetensors"), load_file(file))
    with safe_open(tmp_path / "out.safetensors", "pt") as opened:
        exported = json.loads(opened.metadata()["config"])
    own = json.loads(config.read_text())["model"]
    assert all(exported["model"][name] == own[name] for name in ("sigma_data", "sigma_min", "sigma_max"))
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
    again = command("export-weights --run theirs --to safetensors ours.safetensors")
    assert (again.code, again.out.split()) == (0, ["ours.safetensors", "ours.md"])
    said = command("export-weights --run theirs --to k-diffusion ours.safetensors")
    assert (said.code, "the weights would replace another file" in said.err) == (2, True), "of another form"
    assert same(load_file(tmp_path / "ours.safetensors"), network.state_dict())
    (tmp_path / "precious.safetensors").write_text("precious")
    assert command("export-weights --run theirs --to safetensors precious.safetensors").code == 2
    assert (tmp_path / "precious.safetensors").read_text() == "precious"
    assert not (tmp_path / "precious.md").exists()
    said = command("import --from k-diffusion --name mine ours.safetensors")
    assert (said.code, "--to k-diffusion" in said.err.partition("fix")[2]) == (2, True), said.err
    (tmp_path / "notes.md").write_text("mine")
    said = command("export-weights --run theirs --to safetensors notes.safetensors")
    assert said.code == 2
    assert "notes.md" in said.err
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert not (tmp_path / "notes.safetensors").exists()


@pytest.mark.parametrize(
    ("row", "resolution", "reference"),
    [
        ("table1/E", 128, {}),
        ("table1/E", 512, {"kind": "adm", "name": "VIRTUAL_imagenet512"}),
        ("imagenet256", 64, {"kind": "adm", "name": "VIRTUAL_imagenet64_labeled"}),
        ("imagenet256", 1024, {"kind": "dataset"}),
        ("ffhq1024", 512, {}),
    ],
)
def test_published_statistics_of_the_networks_size(row: str, resolution: int, reference: dict[str, str]) -> None:
    assert _of_its_size(jobs.find(row), resolution) == reference


def test_a_name_of_any_letters_is_one_in_toml_too() -> None:
    """JSON writes a letter beyond 16 bits as two halves, which TOML refuses."""
    name = 'a "cat" \U0001f63a'
    found = tomllib.loads(job_file("them", "mine/\u03b3=4", External(name=name, digest="0" * 64, images=4)))
    assert found["row"]["them"]["label"] == found["row"]["them"]["external"]["name"] == name
    assert found["row"]["them"]["extends"] == "mine/\u03b3=4"
    assert tomllib.loads(f"data = {_toml({'name': name, 'images': 4})}")["data"] == {"name": name, "images": 4}
