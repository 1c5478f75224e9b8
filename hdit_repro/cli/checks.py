"""What `doctor` looks at, a function a subject. Each looks for itself; torch is imported where it is looked at."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Literal, NamedTuple

from hdit_repro.errors import UserError, counted
from hdit_repro.machine import BACKENDS, NEIGHBORHOOD, ask_driver

if TYPE_CHECKING:
    from hdit_repro.models.backends import Backend
    from hdit_repro.spec.run import Run

State = Literal["works", "limited", "broken"]

OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 8)
"""The tests pass with it too; the version that is pinned is the one that numbers were made with."""
TORCHES = ("torch", "torchvision")
GIB = 1 << 30
REFERENCE_ROOM = GIB / 16
"""Bytes for the features and statistics of a few references."""


class Check(NamedTuple):
    """A line: the subject, how it is, what was found, and the command that mends it (empty where nothing is to mend).

    `limited` leaves something out that this machine could do without; `broken` stops the smoke scale from running.
    """

    subject: str
    state: State
    found: str
    fix: str = ""


def refused(subject: str, error: OSError, variable: str) -> Check:
    """What the system refuses to show, with its owner where that is another user.

    Args:
        subject: what was looked at.
        error: what the system said.
        variable: of the environment, which names another place; empty where none does.
    """
    from hdit_repro.files import whose

    found = f"{error.filename}: {error.strerror}{whose(error)}" if error.filename else str(error)
    elsewhere = f", or export {variable}=FOLDER" if variable else ""
    return Check(subject, "broken", found, f"mend its permissions, or have its owner do so (chmod -R g+rwX){elsewhere}")


def python() -> Iterator[Check]:
    """The interpreter."""
    wanted = ".".join(map(str, OLDEST_PYTHON))
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Check("python", "broken", found, f"install Python {wanted} or newer, then make setup")
    else:
        yield Check("python", "works", found)


def packages() -> Iterator[Check]:
    """What the project asks of its environment, pins included; another torch than the pinned one is a limit alone."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(text) for text in requires("hdit-repro") or ()]
    except PackageNotFoundError:
        yield Check("packages", "broken", "hdit-repro itself is not installed", "make setup")
        return
    asked = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong: list[str] = []
    others: list[str] = []
    for each in asked:
        try:
            found = version(each.name)
        except PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            kind = others if each.name in TORCHES else wrong
            kind.append(f"{each.name} is {found}, where {each.specifier} is asked for")
    if wrong:
        yield Check("packages", "broken", "; ".join(wrong + others), "make setup")
    elif others:
        wanted = ".".join(map(str, OLDEST_TORCH))
        found = f"{'; '.join(others)}: the project runs from torch {wanted} on, with other last digits"
        yield Check("packages", "limited", found, "make setup")
    else:
        yield Check("packages", "works", f"all {len(asked)} at versions that go together")


def torch_here() -> Iterator[Check]:
    """Torch and the GPUs it can use, each tried with one multiplication."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", "broken", f"cannot be imported: {error}", "make setup")
        return
    from packaging.version import Version

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if Version(torch.__version__).release[:2] < OLDEST_TORCH:
        wanted = ".".join(map(str, OLDEST_TORCH))
        found = f"{torch.__version__}, where {wanted} or newer is needed"
        yield Check("torch", "broken", found, f"{sys.executable} -m pip install 'torch>={wanted}'")
        return
    yield Check("torch", "works", f"{torch.__version__}, {build}, {counted(torch.get_num_threads(), 'thread')}")
    from hdit_repro.jobs.submitting import submitting
    from hdit_repro.launch.clusters import gpus_here

    seen = gpus_here()
    if not torch.cuda.is_available():
        if seen:
            found = f"the driver shows {counted(len(seen), 'GPU')} that torch cannot use ({build})"
            bare = torch.__version__.partition("+")[0]
            yield Check("gpu", "broken", found, f"{sys.executable} -m pip install --force-reinstall torch=={bare}")
        elif trouble := _driver_trouble():
            found = f"none that can be used: nvidia-smi {trouble}; smoke scale runs on the CPU"
            fix = "restart the machine or install its driver again, until `nvidia-smi --list-gpus` lists the GPUs"
            yield Check("gpu", "limited", found, fix)
        else:
            found = "none: smoke scale runs on the CPU; mini and paper scale need one"
            yield Check("gpu", "limited", found, submitting("table1", "paper"))
        return
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)


def _driver_trouble() -> str:
    """How the driver's command fails ("says Failed to initialize ..."); empty where it does not, or is not here."""
    try:
        asked = ask_driver("--list-gpus", timeout=10.0)
    except subprocess.TimeoutExpired:
        return "gives no answer"
    except OSError:
        return ""
    lines = (asked.stdout + asked.stderr).split("\n")
    said = next((line.strip() for line in lines if line.strip()), "nothing")
    return f"says {said}" if asked.returncode else ""


def _gpu(index: int) -> Check:
    import torch

    from hdit_repro.cost.cards import find_card

    name = torch.cuda.get_device_name(index)
    try:
        free, total = torch.cuda.mem_get_info(index)
        ones = torch.ones(64, 64, device=f"cuda:{index}", dtype=torch.bfloat16)
        right = bool(((ones @ ones) == 64).all())
    except RuntimeError as error:
        return Check(f"gpu {index}", "broken", f"{name}: {str(error).splitlines()[0]}", "nvidia-smi")
    card = find_card(name)
    peak = f"{card.bfloat16:g} TFLOP/s peak in bfloat16" if card else "peak not known"
    found = f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, {peak}"
    return Check(f"gpu {index}", "works", found) if right else Check(f"gpu {index}", "broken", found, "nvidia-smi -q")


def attention(experiment: str, scale: str) -> Iterator[Check]:
    """What computes neighborhood attention here, and what each row of an experiment would train with."""
    from hdit_repro.launch.plan import wanted

    jobs = wanted(experiment, scale)
    try:
        from hdit_repro.models.backends import probe

        backend = probe()
    except UserError as error:
        yield Check("attention", "broken", f"{error.problem}: {error.found}", str(error.fix))
        return
    except (ImportError, OSError) as error:
        yield Check("attention", "broken", f"cannot be looked at without torch: {error}", "make setup")
        return
    found = f"neighborhoods by {backend.name}: {backend.reason}; {NEIGHBORHOOD} chooses another ({', '.join(BACKENDS)})"
    if backend.name == "natten" or NEIGHBORHOOD in backend.reason or "no CUDA" in backend.reason:
        yield Check("attention", "works", found)
    else:
        yield Check("attention", "limited", found, "pip install natten==0.21.7 --no-build-isolation")
    rows: dict[str, list[str]] = {}
    for job in jobs:
        rows.setdefault(attention_of(job.run, backend), []).append(job.row)
    said = "; ".join(f"{', '.join(names)}: {used}" for used, names in rows.items())
    yield Check(f"attention {experiment}", "works", said)


def attention_of(run: Run, backend: Backend) -> str:
    """Which code computes each kind of attention in a run's training here; the backend is asked what it takes."""
    import torch

    from hdit_repro.spec.base import kind_of
    from hdit_repro.spec.model import Hourglass, NeighborhoodAttention

    if not isinstance(run.model, Hourglass):
        return "global by torch"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if run.training.precision == "bfloat16" else torch.float32
    used: dict[str, None] = {}
    for level in run.model.levels:
        by = "torch"
        if isinstance(level.attention, NeighborhoodAttention):
            q = torch.empty(1, 1, 1, 1, level.head_width, device=device, dtype=dtype, requires_grad=True)
            fast = backend.fast is not None and backend.fast.takes(q, level.attention.kernel)
            by = backend.name if fast else "tiled"
        used[f"{kind_of(level.attention)} by {by}"] = None
    return ", ".join(used)


def torchvision() -> Iterator[Check]:
    """torchvision, as the feature networks import it."""
    try:
        from hdit_repro.metrics import torchvision_shim

        module = torchvision_shim.import_torchvision()
        library = torchvision_shim._library_loads()
    except (ImportError, OSError, RuntimeError) as error:
        yield Check("torchvision", "broken", f"cannot be imported: {error}", "make setup")
        return
    own = "its own library loads" if library else "its library does not load beside this torch; two stand-ins do"
    yield Check("torchvision", "works", f"{module.__version__}, {own}")


def compiler() -> Iterator[Check]:
    """torch.compile, tried on a small function in a process of its own."""
    program = (
        "import torch\n"
        "f = torch.compile(lambda x: torch.sin(x) * 2 + x)\n"
        "x = torch.arange(8.0)\n"
        "assert torch.allclose(f(x), torch.sin(x) * 2 + x)\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        yield Check("compile", "limited", "torch.compile took more than three minutes", "train without --compile")
        return
    if done.returncode == 0:
        yield Check("compile", "works", "torch.compile compiles and gives the right numbers")
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    begun = max((place for place, line in enumerate(lines) if line.startswith('  File "')), default=-1) + 1
    said = [line for line in lines[begun:] if not line.startswith(" ")]  # the error, then advice for torch's developers
    reason = " ".join(said[: 2 if said[0].endswith(":") else 1]) if said else "no message"
    found = f"torch.compile fails: {reason}"
    has = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    yield Check("compile", "limited", found, "train without --compile" if has else "apt-get install g++")


def slurm() -> Iterator[Check]:
    """SLURM's commands, and whether its controller answers."""
    if shutil.which("sbatch") is None:
        found = "no sbatch here: runs are started on this machine only"
        yield Check("slurm", "limited", found, "log in to the cluster's login node and run hdit-repro there")
        return
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%P"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
        answer, well = (done.stdout if done.returncode == 0 else done.stderr), done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        answer, well = str(error), False
    if well:
        yield Check("slurm", "works", f"partitions: {' '.join(answer.split()) or 'none'}")
    else:
        said = (answer.strip().splitlines() or ["no message"])[0]
        found = f"sbatch is here and no controller answers, so only this machine can be used: {said}"
        yield Check("slurm", "limited", found, "scontrol ping")


def disk(experiment: str, scale: str) -> Iterator[Check]:
    """Free space against what an experiment would leave, and whether the folders can be read and written to."""
    from hdit_repro.files import another_owner, cache_folder
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.plan import make_plan, to_run, wanted

    roots = workplace()
    needed, asked = 0.0, ""
    try:
        plan = make_plan(wanted(experiment, scale), roots, read_cluster("local"))
        needed = sum(stage.disk_left for stage in to_run(plan))
        asked = f"{experiment} at {scale} scale leaves about {needed / GIB:.2g} GiB; "
    except OSError as error:
        yield refused("runs", error, "HDIT_REPRO_RUNS")
    for name, folder in (("runs", roots.runs), ("cache", cache_folder())):
        place = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            fix = "export HDIT_REPRO_CACHE=FOLDER" if name == "cache" else "run from a folder of your own"
            owner = another_owner(place)
            whose = f"; it belongs to {owner[1]}" if owner else ""
            yield Check(f"disk {name}", "broken", f"{place} cannot be read and written to{whose}", fix)
            continue
        free = shutil.disk_usage(place).free
        found = f"{asked if name == 'runs' else ''}{free / GIB:.1f} GiB free at {place}"
        short = free < (needed if name == "runs" else REFERENCE_ROOM)
        first = "hdit-repro gc" if name == "runs" else "free some space"
        fix = f"{first}, or export HDIT_REPRO_{name.upper()}=FOLDER on a larger disk" if short else ""
        yield Check(f"disk {name}", "broken" if short else "works", found, fix)
