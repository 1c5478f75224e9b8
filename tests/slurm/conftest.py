"""A real SLURM on this machine, a folder with jobs cut down to seconds, and small helpers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro.launch.slurm import queue
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
DIR = Path(os.environ.get("SLURM_TEST_DIR") or Path(tempfile.gettempdir()) / "slurm-test")

PROFILE = """
kind = "slurm"
gpu = "A100"
speed = 1.0
speed_basis = "made up"
price_per_gpu_hour = 2.0
partition = "{partition}"
gres = "gpu:{gpu}"
gpus_per_node = 2
train_gpus = 4
train_gpus_below_paper = {train_gpus}
time_limit_hours = {time_limit_hours}
cpus_per_gpu = 1
shard_hours = 1e-9
pack_hours = {pack_hours}
sample_batch = 8
signal_seconds = 30
sbatch = {{ {sbatch} }}
"""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """The cluster, started where it does not run yet; `slurm-down.sh` ends it. Jobs of the tests are cancelled."""
    up = subprocess.run(
        [str(HERE / "slurm-up.sh")], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    assert up.returncode == 0, up.stdout + up.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(DIR / "etc" / "slurm.conf"))
        patch.setenv("SLURM_TEST_DIR", str(DIR))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(PROJECT)]))
        for name in [name for name in os.environ if re.match(r"SLURM_(JOB|STEP|NTASKS|PROCID|ARRAY)", name)]:
            patch.delenv(name)
        yield DIR
        queue.scancel(sorted(queue.squeue()))


@pytest.fixture
def here(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workplace whose `jobs/` has the project's experiments, with few steps, samples and references."""
    shutil.copytree(PROJECT / "jobs", tmp_path / "jobs")
    scales = tmp_path / "jobs" / "scales.toml"
    text, smoke = scales.read_text().split("[smoke.all]")
    smoke = re.sub(r"steps = \d+, batch = \d+", "steps = 10, batch = 8", smoke, count=1)
    smoke = re.sub(r"sampling = \{ count = \d+", "sampling = { count = 16", smoke, count=1)
    smoke = re.sub(r"count = [0-9_]+ \}, metrics", "count = 48 }, metrics", smoke, count=1)
    scales.write_text(f"{text}[smoke.all]{smoke}")
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def roots(here: Path) -> Roots:
    return Roots(here / "runs", here / "results")


@pytest.fixture
def profile(here: Path) -> Callable[..., Slurm]:
    """Writes a profile into the workplace's `jobs/clusters/`, and reads it back."""

    def make(
        name: str = "tiny",
        partition: str = "a100",
        gpu: str = "a100",
        train_gpus: int = 1,
        sbatch: str = "",
        **more: str,
    ) -> Slurm:
        from hdit_repro.launch.clusters import read_cluster

        usual = {"pack_hours": "0.0", "time_limit_hours": "1.0"}
        given = {key: more.pop(key, value) for key, value in usual.items()}
        body = PROFILE.format(partition=partition, gpu=gpu, train_gpus=train_gpus, sbatch=sbatch, **given)
        body += "".join(f"{key} = {value}\n" for key, value in more.items())
        (here / "jobs" / "clusters" / f"{name}.toml").write_text(body)
        found = read_cluster(name)
        assert isinstance(found, Slurm)
        return found

    return make


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Stages without torch, importable here and in jobs."""
    monkeypatch.syspath_prepend(str(HERE))
    yield import_module("slow_stages")
    sys.modules.pop("slow_stages", None)


def run_command(*arguments: str, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "hdit_repro.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_command


def wait_until(condition: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s; queue: {queue.squeue()}"
        time.sleep(0.2)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until
