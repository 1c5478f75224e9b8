"""`import` and `export-weights`: round trips are exact, and nothing but tensors is read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tomllib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hdit_repro import jobs
from hdit_repro.cli.exchange import _of_its_size, _toml
from hdit_repro.cli.external import job_file
from hdit_repro.files import read_json, sha256_file
from hdit_repro.models import load_dit, load_k_diffusion
from hdit_repro.models.build import build
from hdit_repro.models.released import read_dit
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.data import DATASETS, DatasetFacts
from hdit_repro.spec.evaluation import AdmReference, DatasetReference
from hdit_repro.spec.external import External
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.stages.sample import first_images, trained_network

Command = Callable[..., Any]
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


def like_row(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row on data with as many classes as the network has."""
    classes = json.loads(config.read_text()).get("dataset", {}).get("num_classes", 0)
    monkeypatch.setitem(DATASETS, "emoji", DatasetFacts(3_781, classes, 0))
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


def test_the_file_that_dits_training_writes_is_read(command: Command, tmp_path: Path) -> None:
    """Its command line is an argparse.Namespace, which torch takes for no plain value."""
    config, file = their_files("dit")
    photographs(tmp_path / "photographs", 10)
    state = {"model": {}, "ema": load_file(file), "opt": {"state": {}}, "args": Namespace(model="DiT-XL/2", epochs=1)}
    torch.save(state, tmp_path / "0400000.pt")
    said = command("import --from dit --name theirs --data photographs 0400000.pt --config", config)
    assert said.code == 0, said.err
    assert same(imported("theirs", tmp_path)[1].state_dict(), load_dit(config, file).state_dict())


@pytest.mark.parametrize("parts", [("model",), ("step", "state_dict"), ("model", "ema_model")])
def test_a_file_of_other_parts_is_told_how_to_take_the_weights_out(
    command: Command, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    config, file = their_files("dit")
    photographs(tmp_path / "photographs", 10)
    torch.save({name: 7 if name == "step" else load_file(file) for name in parts}, tmp_path / "theirs.pt")
    said = command("import --from dit --name theirs --data photographs theirs.pt --config", config)
    assert (said.code, f"{parts[-1]!r} (42 tensors)" in said.err) == (2, True), said.err
    lines = " ".join(said.err.split())
    exec(lines.partition('python -c "')[2].partition('"')[0], {})
    assert command("import --from dit --name theirs --data photographs weights.pt --config", config).code == 0


def test_a_file_that_would_run_something_is_told_what(command: Command, tmp_path: Path) -> None:
    torch.save({"ema": {}, "scaler": np.float64(3)}, tmp_path / "theirs.pt")
    said = command("import --from dit --name theirs theirs.pt")
    assert (said.code, "numpy._core.multiarray.scalar in it" in said.err) == (2, True), said.err
    (tmp_path / "theirs.pt").write_text('{"model": {}}')
    said = command("import --from dit --name theirs theirs.pt")
    assert (said.code, "bytes that torch.save does not write" in said.err) == (2, True), said.err
    assert "False" not in said.err, "which would run it"


def test_a_network_of_oblong_images_is_refused(command: Command, tmp_path: Path) -> None:
    """It was taken for one of squares of the longer side."""
    file, config = adapted(tmp_path, "hdit-global")
    settings = json.loads(config.read_text())
    settings["model"]["input_size"] = [16, 8]
    config.write_text(json.dumps(settings))
    said = command("import --from k-diffusion --name theirs --config theirs.json theirs.safetensors")
    assert (said.code, "theirs.json: model.input_size = [16, 8]" in said.err) == (2, True), said.err
    assert file.exists()
    assert not (tmp_path / "jobs").exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_what_is_refused_leaves_no_run(command: Command, tmp_path: Path) -> None:
    file, _ = adapted(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model_ema": Evil()}))
    torch.save({"model_ema": Evil()}, tmp_path / "evil.pt")
    save_file(load_file(file), tmp_path / "bare.safetensors")
    (tmp_path / "junk.pth").write_bytes(b"junk\n")  # of these bytes the unpickler says KeyError
    (tmp_path / "empty.pth").touch()
    save_file(load_file(file), tmp_path / "deep.safetensors", {"config": "[" * 100_000})
    (tmp_path / "deep.json").write_text("[" * 100_000)
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    torch.save({"a": torch.eye(3, device="meta")}, tmp_path / "meta.pth")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-100])
    for line in (
        "--name x evil.pth",
        "--name x evil.pt",
        "--name x junk.pth",
        "--name x empty.pth",
        "--name x bare.safetensors",
        "--name x cut.safetensors",
        "--name x deep.safetensors",
        "--name x --config deep.json theirs.safetensors",
        "--name x --config theirs.json sparse.pth",
        "--name x --config theirs.json meta.pth",
        "--name x nowhere.safetensors",
        "--name x .",
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


def test_a_name_of_any_letters_is_one_in_toml_too() -> None:
    """JSON writes a letter beyond 16 bits as two halves, which TOML refuses."""
    name = 'a "cat" \U0001f63a'
    found = tomllib.loads(job_file("them", "mine/\u03b3=4", External(name=name, digest="0" * 64, images=4)))
    assert found["row"]["them"]["label"] == found["row"]["them"]["external"]["name"] == name
    assert found["row"]["them"]["extends"] == "mine/\u03b3=4"
    assert tomllib.loads(f"data = {_toml({'name': name, 'images': 4})}")["data"] == {"name": name, "images": 4}


def test_a_checkpoint_of_another_encoding_is_refused_by_name(command: Command) -> None:
    said = command("import --from k-diffusion --name x", Path(os.fsdecode(b"\xe9.pth")))
    assert (said.code, "a name is not UTF-8" in said.err) == (2, True)


def test_a_network_of_other_classes_is_told_what_helps(command: Command, tmp_path: Path) -> None:
    adapted(tmp_path)
    said = command("import --from k-diffusion --name x theirs.safetensors")
    assert (said.code, "x.toml" in said.err) == (2, False), "a file that is not there helps nobody"
    assert "theirs.safetensors: model.classes 10 is not the 1000 of imagenet" in said.err
    assert "--like" in said.err.partition("fix")[2]
    assert not (tmp_path / "runs").exists()


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


def test_a_network_of_latents_is_refused(command: Command, tmp_path: Path) -> None:
    """The published DiT checkpoints: four channels."""
    settings = {"model": {"input_size": 8, "in_channels": 4, "hidden_size": 16, "depth": 1, "num_heads": 2}}
    (tmp_path / "dit.json").write_text(json.dumps(settings))
    state = build(read_dit(tmp_path / "dit.json")).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "dit.safetensors")
    said = command("import --from dit --name theirs --config dit.json dit.safetensors")
    assert said.code == 2
    assert "4 channels" in said.err
    assert not (tmp_path / "jobs").exists()


def test_a_network_with_a_condition_that_no_run_has_is_refused_with_what_can_be_done(
    command: Command, tmp_path: Path
) -> None:
    config, file = their_files("hdit-mapping-cond")
    said = command("import --from k-diffusion --name theirs --config", config, file)
    assert said.code == 2
    assert "mapping_cond_dim 4" in said.err
    assert "import --from images" in said.err
    assert not (tmp_path / "jobs").exists()


def test_an_import_takes_nobodys_file(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = adapted(tmp_path)
    like = like_row(tmp_path, config, monkeypatch)
    own = tmp_path / "jobs" / "scales.toml"
    own.write_text("[smoke.all]\ntraining = { steps = 7 }\n")
    (tmp_path / "jobs" / "gone.toml").symlink_to(tmp_path / "nowhere.toml")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.new("RGB", (128, 128), (number, 0, 0)).save(images / f"{number}.png")
    for line, path in ((f"--from k-diffusion --like {like}", file), ("--from images", images)):
        for name in ("scales", "Scales", "gone"):
            said = command(f"import --name {name} {line}", path)
            assert (said.code, "cannot be called that" in said.err) == (2, True), said.err
    assert own.read_text() == "[smoke.all]\ntraining = { steps = 7 }\n"
    assert not (tmp_path / "nowhere.toml").exists()


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


def test_an_import_that_fails_in_any_way_leaves_no_job_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.new("RGB", (128, 128), (number, 0, 0)).save(images / f"{number}.png")

    def stop(*_: object) -> None:
        raise KeyError("no user's error")

    monkeypatch.setattr("hdit_repro.stages.external.remember", stop)
    assert command("import --from images --name theirs images").code == 1
    assert not (tmp_path / "jobs" / "theirs.toml").exists()


def test_an_odd_configuration_is_named_by_the_file_that_was_given(command: Command, tmp_path: Path) -> None:
    file, config = adapted(tmp_path)
    settings = json.loads(config.read_text())
    settings["model"]["widthz"] = [1]
    config.write_text(json.dumps(settings))
    said = command("import --from k-diffusion --name theirs --config theirs.json", file)
    assert (said.code, "in theirs.json" in said.err) == (2, True), said.err
