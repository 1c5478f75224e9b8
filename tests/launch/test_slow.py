"""Mini and paper scale on a machine without a GPU: told by `plan`, `submit` and the commands of single stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.files import write_json
from hdit_repro.launch.clusters import Local, read_cluster
from hdit_repro.launch.graph import Task, tasks_for
from hdit_repro.launch.slow import on_cpus
from hdit_repro.records.layout import Roots, RunFolder


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def tasks(roots: Roots, scale: str = "mini") -> list[Task]:
    return tasks_for([jobs.find("table1/E", scale)], roots)


def machine(rate: float) -> Local:
    return Local(name="local", cpu_macs_per_second=rate, cpu_features_per_second=1.0)


def hours_of(line: str) -> float:
    return float(line.split(" about ")[1].split()[0].replace(",", ""))


def test_what_a_gpu_is_wanted_for_is_told_with_its_hours(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = on_cpus(tasks(roots), machine(1e15))
    assert whole.startswith("warning: mini scale is made for a GPU, and none is here")
    assert "--scale smoke" in whole
    hours = [hours_of(on_cpus(tasks(roots), machine(rate))) for rate in (1e9, 2e9)]
    assert hours[0] == pytest.approx(2 * hours[1], rel=0.01), "a CPU twice as fast takes half of it"
    folder = RunFolder(roots, jobs.find("table1/E", "mini").run, "mini")
    write_json(folder.checkpoints / "step-00001200.json", {})
    (folder.checkpoints / "step-00001200.safetensors").touch()
    rest = hours_of(on_cpus(tasks(roots)[:1], machine(1e9)))
    (folder.checkpoints / "step-00001200.json").unlink()
    assert hours_of(on_cpus(tasks(roots)[:1], machine(1e9))) == pytest.approx(2 * rest, rel=0.01), "of 2,400 steps"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert on_cpus(tasks(roots), machine(1e9)) == ""
    assert "--device cpu uses none" in on_cpus(tasks(roots), machine(1e9), "cpu")


def test_what_no_gpu_is_wanted_for_is_not(roots: Roots) -> None:
    assert on_cpus(tasks(roots, "smoke"), machine(1e9)) == ""
    assert on_cpus(tasks(roots)[2:], machine(1e9)) == "", "a measurement"
    assert on_cpus([], machine(1e9)) == ""
    assert on_cpus(tasks(roots), read_cluster("a100")) == "", "a cluster has them"
    assert on_cpus(tasks(roots), machine(1e9), "cuda") == "", "refused by what knows that there is none"


@pytest.mark.parametrize("scale", ["smoke", "mini"])
@pytest.mark.parametrize("line", ["plan table1/E", "submit table1/E --dry-run", "train --run table1/E"])
def test_commands_say_so_once_on_stderr(
    line: str, scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hdit_repro.cli.stage._run_here", lambda *_, **__: None)
    assert main([*line.split(), "--scale", scale]) == 0
    assert capsys.readouterr().err.count("none is here: on CPUs what is left takes") == int(scale == "mini")
