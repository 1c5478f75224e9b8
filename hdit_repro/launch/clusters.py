"""Machines to run on, declared: `jobs/clusters/NAME.toml`. No torch."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from shlex import quote

import msgspec

from hdit_repro.errors import UserError, pick
from hdit_repro.jobs.explain import Shape, explain
from hdit_repro.jobs.files import TOML_FILES, folders, line_of, read_toml
from hdit_repro.launch.slurm.profile import Slurm as Slurm
from hdit_repro.machine import ask_driver
from hdit_repro.records.layout import Roots
from hdit_repro.spec.base import Choice, require
from hdit_repro.stages.settings import MAX_THREADS, HowToSample, HowToTrain

WORKPLACE_VARIABLE = "HDIT_REPRO_WORKPLACE"
"""Names the folder that holds `runs/` and `results/`; cluster jobs, which start elsewhere, are told by it."""

RUNS_VARIABLE = "HDIT_REPRO_RUNS"
"""Names the folder of runs where it is not `runs/` of the workplace."""


class Local(Choice, tag="local", frozen=True, kw_only=True):
    """Processes on this machine.

    `jobs_at_once` of 0 is one a GPU, and without a GPU one for every `threads` CPUs. The two rates are of one CPU:
    multiply-accumulates a second of a network, images a second of feature extraction. `training`: how trainings run.
    `sampling`: how samples are drawn.
    """

    name: str
    jobs_at_once: int = 0
    threads: int = 1
    cpu_macs_per_second: float
    cpu_features_per_second: float
    training: HowToTrain = msgspec.field(default_factory=HowToTrain)
    sampling: HowToSample = msgspec.field(default_factory=HowToSample)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.jobs_at_once >= 0, "jobs_at_once is 0 or more")
        require(1 <= self.threads <= MAX_THREADS, f"threads are 1 to {MAX_THREADS}")
        require(min(self.cpu_macs_per_second, self.cpu_features_per_second) > 0, "rates must be positive")

    def workers(self, cpus: int, gpus: int) -> int:
        """How many rows run at once on a machine with so many CPUs and GPUs."""
        return self.jobs_at_once or gpus or max(1, cpus // self.threads)


Cluster = Local | Slurm


PROFILE = Shape(
    Cluster,
    "the profile",
    "it; a100.toml and local.toml of `hdit-repro cluster list` are whole ones, to copy",
    "a100.toml of `hdit-repro cluster list` explains each",
)


def clusters() -> dict[str, Path]:
    """Name -> profile; one in `jobs/clusters/` of the current folder hides the project's of the same name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / "clusters").glob(TOML_FILES)):
            if path.is_file():
                found.setdefault(path.stem, path)
    return found


def read_cluster(name: str) -> Cluster:
    """The profile of a cluster.

    Raises:
        UserError: there is none of that name, or its file has unknown keys, a name of its own, wrong types or
            impossible values.
    """
    path = pick(clusters(), name, kind="cluster", where="jobs/clusters/")
    tree = read_toml(path)
    if "name" in tree:
        raise UserError(
            "a cluster's profile is called as its file is, and not by a key",
            found=f"{path}:{_line(path, 'name')}: name = {tree['name']!r}",
            expected=f"no `name`; the file's own is {name}",
            fix="delete that line, or rename the file",
        )
    try:
        profile: Cluster = msgspec.convert({**tree, "name": name}, Cluster)
    except msgspec.ValidationError as error:
        refused = explain(error, tree, lambda field: f"{path}:{_line(path, field)}", PROFILE)
        refused.expected = ", ".join(word for word in str(refused.expected).split(", ") if word != "name")
        refused.problem = f"a cluster's profile is not understood: {refused.problem}"
        raise refused from error
    return profile


def gpus_here(devices: Path = Path("/dev")) -> list[str]:
    """GPUs that a process started here would see, as CUDA_VISIBLE_DEVICES names them. Asks the driver, not torch; where
    its command is not, as in many containers, or gives no answer, its devices are counted."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    try:
        asked = ask_driver("--list-gpus")
    except (OSError, subprocess.TimeoutExpired):
        return [str(index) for index, _ in enumerate(devices.glob("nvidia[0-9]*"))]
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    return [str(index) for index, line in enumerate(line for line in lines if line.startswith("GPU "))]


def has_gpu() -> bool:
    """Whether a process started here would see a GPU. The driver's file answers first: its command takes a second."""
    return bool(card_here() or gpus_here())


def card_of(cluster: Cluster) -> str:
    """The card that a cluster's jobs run on: what its profile calls it, or this machine's own; empty: none is known."""
    return cluster.gpu if isinstance(cluster, Slurm) else card_here()


def card_here(driver: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """What the driver calls the first GPU of this machine ("NVIDIA H100 80GB HBM3"); empty without one. Reads a file of
    the driver's, since asking it by its command takes longer than a plan may."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return ""
    for path in sorted(driver.glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                return value.strip()
    return ""


def workplace(start: Path | None = None, cluster: Cluster | None = None) -> Roots:
    """`runs/` and `results/` of the checkout that a folder lies in, or of the folder itself. Creates nothing.

    Args:
        start: the folder; None is $HDIT_REPRO_WORKPLACE, or else the current one.
        cluster: whose profile may name another folder for the runs, as $HDIT_REPRO_RUNS does.

    Raises:
        UserError: $HDIT_REPRO_WORKPLACE is no folder; that of the runs names a variable that is not set, or the home of
            nobody, or is a file.
    """
    asked = os.environ.get(WORKPLACE_VARIABLE, "")
    here = (start or Path(asked or Path.cwd())).resolve()
    if start is None and asked and not here.is_dir():
        raise UserError(
            "the folder to work in is not there",
            found=f"{WORKPLACE_VARIABLE}={asked}" + (", a file" if here.exists() else ""),
            expected="a folder, with what was submitted in it",
            fix=f"name another, make it (`mkdir -p {quote(asked)}`), or unset {WORKPLACE_VARIABLE}",
        )
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "hdit_repro" / "__init__.py").is_file():
            here = folder
            break
    named = cluster.runs if isinstance(cluster, Slurm) and cluster.runs else os.environ.get(RUNS_VARIABLE, "")
    if start is not None or not named:
        return Roots(here / "runs", here / "results")
    filled = os.path.expandvars(named)
    if "$" in filled:
        raise UserError(
            "the folder of runs names a variable that is not set",
            found=named,
            expected="variables that are set where this command runs",
            fix="set it, or name the folder without it: `runs` in the cluster's profile",
        )
    try:
        runs = Path(filled).expanduser().resolve()
    except RuntimeError as error:
        raise UserError(
            "the folder of runs lies in a home that the system does not know",
            found=named,
            expected="~ with a HOME, or ~ and the name of a user",
            fix="name the folder without ~",
        ) from error
    if runs.is_file():
        raise UserError(
            "the folder of runs is a file",
            found=named,
            expected="a folder, or a place for one",
            fix=f"name another: `runs` in the cluster's profile, or {RUNS_VARIABLE}",
        )
    return Roots(runs, here / "results")


def _line(path: Path, field: str) -> int:
    return line_of(path, *field.partition("[")[0].split("."))
