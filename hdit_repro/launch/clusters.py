"""Machines to run on, declared: `jobs/clusters/NAME.toml`. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from hdit_repro.errors import UserError, pick
from hdit_repro.jobs.files import folders, read_toml
from hdit_repro.records.layout import Roots
from hdit_repro.spec.base import Choice, require


class Local(Choice, tag="local", frozen=True, kw_only=True):
    """Processes on this machine.

    `jobs_at_once` of 0 is one a GPU, and without a GPU one for every `threads` CPUs. The two rates are of one CPU:
    multiply-accumulates a second of a network, images a second of feature extraction.
    """

    name: str
    jobs_at_once: int = 0
    threads: int = 1
    cpu_macs_per_second: float
    cpu_features_per_second: float

    def __post_init__(self) -> None:
        require(self.jobs_at_once >= 0 and self.threads >= 1, "jobs_at_once is 0 or more, threads 1 or more")
        require(min(self.cpu_macs_per_second, self.cpu_features_per_second) > 0, "rates must be positive")

    def workers(self, cpus: int, gpus: int) -> int:
        """How many rows run at once on a machine with so many CPUs and GPUs."""
        return self.jobs_at_once or gpus or max(1, cpus // self.threads)


class Slurm(Choice, tag="slurm", frozen=True, kw_only=True):
    """A partition of GPU nodes under SLURM. `speed` is one of its GPUs in A100; `speed_basis` says where from."""

    name: str
    gpu: str
    speed: float
    speed_basis: str
    partition: str
    gpus_per_node: int
    train_gpus: int
    time_limit_hours: float
    price_per_gpu_hour: float

    def __post_init__(self) -> None:
        require(self.speed > 0 and self.time_limit_hours > 0, "speed and time_limit_hours must be positive")
        require(self.gpus_per_node >= 1 and self.train_gpus >= 1, "GPUs start at 1")
        require(self.price_per_gpu_hour >= 0, "a price is not negative")


Cluster = Local | Slurm


def clusters() -> dict[str, Path]:
    """Name -> profile; one in `jobs/clusters/` of the current folder hides the project's of the same name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / "clusters").glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def read_cluster(name: str) -> Cluster:
    """The profile of a cluster.

    Raises:
        UserError: there is none of that name, or its file has unknown keys, wrong types or impossible values.
    """
    path = pick(clusters(), name, kind="cluster", where="jobs/clusters/")
    try:
        profile: Cluster = msgspec.convert({**read_toml(path), "name": name}, Cluster)
    except msgspec.ValidationError as error:
        raise UserError(
            "a cluster's profile is not understood",
            found=f"{path}: {error}",
            expected='the keys of jobs/clusters/local.toml (kind = "local") or a100.toml (kind = "slurm")',
        ) from error
    return profile


def cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_here() -> list[str]:
    """GPUs that a process started here would see, as CUDA_VISIBLE_DEVICES names them. Asks the driver, not torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=False)
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    return [str(index) for index, line in enumerate(line for line in lines if line.startswith("GPU "))]


def workplace(start: Path | None = None) -> Roots:
    """`runs/` and `results/` of the checkout that a folder lies in, or of the folder itself. Creates nothing.

    Args:
        start: the folder; None is the current one.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "hdit_repro" / "__init__.py").is_file():
            here = folder
            break
    return Roots(here / "runs", here / "results")
