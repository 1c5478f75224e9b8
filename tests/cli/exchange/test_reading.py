"""Nothing but tensors is read of a checkpoint, and of a file that holds more the right ones."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hdit_repro.models import load_dit, load_k_diffusion
from tests.cli.exchange.given import adapted, imported, like_row, photographs, same, their_files

Command = Callable[..., Any]


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
