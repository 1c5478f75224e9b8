"""An imported network is a run like any other: sampled, evaluated, and imported again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hdit_repro import jobs
from hdit_repro.files import read_json, sha256_file
from hdit_repro.models import load_dit, load_k_diffusion
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.evaluation import DatasetReference
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.stages.sample import first_images
from tests.cli.exchange.given import adapted, imported, like_row, photographs, same, small_row, their_files

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("origin", "reference", "extends", "sampler"),
    [
        ("dit", "dit", "alternatives/R1-unscaled", '{ kind = "ancestral", steps = 3 }'),
        ("k-diffusion", "hdit-neighborhood", "table1/E", '{ kind = "dpmpp_3m_sde", steps = 3, eta = 1.0 }'),
    ],
)
def test_an_imported_run_is_sampled_and_evaluated(
    command: Command, tmp_path: Path, origin: str, reference: str, extends: str, sampler: str
) -> None:
    """From the released file to a record: the samples are those of the released network, to the bit."""
    config, file = their_files(reference)
    classes = json.loads(config.read_text()).get("dataset", json.loads(config.read_text())["model"])["num_classes"]
    photographs(tmp_path / "photographs", classes)
    small_row("few", extends, sampler)
    said = command(f"import --from {origin} --name theirs --like few --data photographs --config", config, file)
    assert said.code == 0, said.err
    for stage in ("sample", "eval"):
        said = command(f"{stage} --run theirs --device cpu --threads 1")
        assert said.code == 0, said.err
    record = read_json(tmp_path / said.out.strip())
    assert list(record["metrics"]) == ["fd-efficientnet-lite0@4"]
    assert record["protocol"]["samples"] == 4
    assert record["protocol"]["reference"]["count"] == 2 * classes
    assert record["run"]["training"]["imported"] == sha256_file(file)

    card = (tmp_path / "runs" / record["training_id"] / "card.md").read_text()
    value = record["metrics"]["fd-efficientnet-lite0@4"]["value"]
    assert f"fd-efficientnet-lite0@4: {value:.4g}" in card
    assert "(4 samples, " in card
    assert "against photographs, " in card
    assert "stay under the licence" in card

    job = jobs.find("theirs")
    load = load_dit if origin == "dit" else load_k_diffusion
    drawer = Drawer(job.run, load(config, file), torch.device("cpu"), lambda: None)
    expected, labels = drawer(range(4))
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, job.scale)
    assert torch.equal(first_images(folder, 4), expected)
    assert int(labels.max()) < classes
    if origin == "dit":
        assert job.run.diffusion.data_scale == 1.0
    else:
        settings = json.loads(config.read_text())["model"]
        assert job.run.edm.sigma_data == settings["sigma_data"]
        assert job.run.sampled_sigmas == (settings["sigma_min"], settings["sigma_max"])

    (shard,) = folder.samples.glob("shard-*")
    whole = shard.read_bytes()
    for stage in ("sample", "eval"):  # what the disk spoilt costs no second command
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        folder.record.unlink(missing_ok=True)
        said = command(f"{stage} --run theirs --device cpu --threads 1")
        assert said.code == 0, said.err
        assert stage == "eval" or f"drawn again: {shard.name}" in said.err
        assert shard.read_bytes() == whole
    assert read_json(folder.record)["metrics"] == record["metrics"]


def test_a_dit_takes_the_row_that_samples_as_its_code_does(command: Command, tmp_path: Path) -> None:
    config, file = their_files("dit")
    photographs(tmp_path / "photographs", 10)
    said = command("import --from dit --name theirs --data photographs --config", config, file)
    assert said.code == 0, said.err
    run = jobs.find("theirs").run
    assert (run.diffusion.timesteps, run.diffusion.data_scale) == (1000, 1.0)
    assert run.sampling.sampler.steps == 250
    assert isinstance(run.evaluation.reference, DatasetReference)
    said = command("import --from dit --name other --like table1/E --data photographs --config", config, file)
    assert said.code == 2
    assert not Path("jobs/other.toml").exists()


def test_the_same_import_again_goes_on_where_it_was_killed_or_brings_its_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, config = adapted(tmp_path)
    like = like_row(tmp_path, config, monkeypatch)
    line = f"import --from k-diffusion --name theirs --like {like}"
    assert command(line, file).code == 0
    run, network = imported("theirs", tmp_path)
    shutil.rmtree(tmp_path / "runs")
    declared = tmp_path / "jobs" / "theirs.toml"
    text = declared.read_text()
    said = command(line, file)
    assert said.code == 0, said.err
    assert declared.read_text() == text
    again, same_network = imported("theirs", tmp_path)
    assert (again.id, same(same_network.state_dict(), network.state_dict())) == (run.id, True)

    (weights,) = (tmp_path / "runs").glob("*/checkpoints/step-*.safetensors")
    weights.write_bytes(b"")
    said = command("export-weights --run theirs --to safetensors ours.safetensors")
    assert (said.code, "import --from k-diffusion" in said.err, "resumes" in said.err) == (1, True, False), said.err
    assert "trained elsewhere, and they are not here" in command("sample --run theirs").err
    assert command(line, file).code == 0

    def stop(*_: object) -> None:
        raise KeyError("no user's error")

    with monkeypatch.context() as patch:
        patch.setattr("hdit_repro.stages.exchange.put", stop)
        assert command(line, file).code == 1
    assert declared.read_text() == text, "it was there before"
    declared.write_text(f"{text}# mine\n")
    said = command(line, file)
    assert (said.code, "of that name is there" in said.err) == (2, True), said.err
    assert declared.read_text().endswith("# mine\n")
