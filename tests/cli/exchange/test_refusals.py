"""What cannot be a run of the suite is refused, says why, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hdit_repro.models.build import build
from hdit_repro.models.released import read_dit
from tests.cli.exchange.given import adapted, like_row, their_files

Command = Callable[..., Any]


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


def test_a_network_of_other_classes_is_told_what_helps(command: Command, tmp_path: Path) -> None:
    adapted(tmp_path)
    said = command("import --from k-diffusion --name x theirs.safetensors")
    assert (said.code, "x.toml" in said.err) == (2, False), "a file that is not there helps nobody"
    assert "theirs.safetensors: model.classes 10 is not the 1000 of imagenet" in said.err
    assert "--like" in said.err.partition("fix")[2]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("origin", "reference", "like", "diffusion", "advised"),
    [
        ("dit", "dit", "table1/E", "edm", "alternatives/R1-unscaled"),
        ("k-diffusion", "hdit-neighborhood", "table1/R1", "gaussian", "table1/E"),
    ],
)
def test_a_network_of_another_diffusion_is_told_which_row_it_can_be_like(
    command: Command, tmp_path: Path, origin: str, reference: str, like: str, diffusion: str, advised: str
) -> None:
    """Its classes were blamed, in a job file that was gone."""
    config, file = their_files(reference)
    said = command(f"import --from {origin} --name x --like {like} --config", config, file)
    assert said.code == 2
    assert f"{like} is of {diffusion} diffusion" in said.err
    assert said.err.rstrip().endswith(f"--like {advised}")
    assert "classes" not in said.err
    assert not (tmp_path / "jobs").exists()


def test_another_misfit_keeps_its_own_words(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = adapted(tmp_path)
    like_row(tmp_path, config, monkeypatch)
    odd = tmp_path / "jobs" / "odd.toml"
    odd.write_text(
        'experiment = "odd"\ntitle = "Odd"\n[row.odd]\nextends = "base/base"\nsampling = { weights = "raw" }\n'
    )
    said = command("import --from k-diffusion --name x --like odd", file)
    assert (said.code, "x.toml" in said.err) == (2, False), "a file that is not there helps nobody"
    assert "theirs.safetensors: an imported checkpoint has one set of weights" in said.err
    assert "classes" not in said.err
    assert sorted(path.name for path in odd.parent.iterdir()) == ["base.toml", "odd.toml"]


def test_an_odd_configuration_is_named_by_the_file_that_was_given(command: Command, tmp_path: Path) -> None:
    file, config = adapted(tmp_path)
    settings = json.loads(config.read_text())
    settings["model"]["widthz"] = [1]
    config.write_text(json.dumps(settings))
    said = command("import --from k-diffusion --name theirs --config theirs.json", file)
    assert (said.code, "in theirs.json" in said.err) == (2, True), said.err


def test_a_checkpoint_of_another_encoding_is_refused_by_name(command: Command) -> None:
    said = command("import --from k-diffusion --name x", Path(os.fsdecode(b"\xe9.pth")))
    assert (said.code, "a name is not UTF-8" in said.err) == (2, True)


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
