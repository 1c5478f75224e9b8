"""Where a number comes from: commit, versions, machine, time. No torch; what a stage knows of its card is handed in."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.files import read_json
from hdit_repro.records.schema import Provenance

PACKAGES = ("hdit-repro", "torch", "torchvision", "numpy", "scipy", "pillow", "msgspec", "natten", "torch-fidelity")
"""Whose versions can move a number."""

CODE = ("hdit_repro", "jobs", "pyproject.toml", "constraints.txt")
"""What makes a checkout dirty. Results and rendered tables do not: each measurement adds some."""

MARK = "environment.json"
"""In a copy of the code made for jobs: what it is a copy of, and what it runs in."""

UNKNOWN = "unknown"
COMMIT_VARIABLE = "HDIT_REPRO_COMMIT"
"""Names the commit of a copy that has no git repository: one that was carried to a machine without network, say."""


class Source(NamedTuple):
    """The code that ran: its commit, and whether it had been changed since (None where nobody can tell)."""

    commit: str
    dirty: bool | None


def collect(
    *,
    device: str,
    seconds: Mapping[str, float],
    gpu_hours: Mapping[str, Mapping[str, float]],
    versions: Mapping[str, str] | None = None,
    snapshot: Path | None = None,
) -> Provenance:
    """The provenance of a measurement made now, here.

    Args:
        device: the card or processor by name.
        seconds: wall time per stage ("train", "sample", "evaluate").
        gpu_hours: by stage and by what it ran on; 0 on a processor.
        versions: what only a stage knows ("cuda", "cudnn"); added to the packages'.
        snapshot: a run.json with the `commit` and `dirty` of the code that was submitted last; they win over git's, and
            what a copy made for jobs says of itself wins over both.
    """
    here = Path(__file__).resolve().parents[2]
    source = submitted_source(here / MARK) or submitted_source(snapshot) or checkout_source(here)
    split = {stage: {name: round(value, 6) for name, value in used.items()} for stage, used in gpu_hours.items()}
    return Provenance(
        commit=source.commit,
        dirty=source.dirty,
        versions={**package_versions(), **(versions or {})},
        device=device,
        host=host_kind(),
        seconds={stage: round(float(value), 3) for stage, value in seconds.items()},
        gpu_hours=round(math.fsum(value for used in split.values() for value in used.values()), 6),
        gpu_hours_by_stage=split,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def package_versions() -> dict[str, str]:
    """Python's version and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def host_kind() -> str:
    """The kind of machine, never its name: "Linux x86_64" or "Linux x86_64, SLURM"."""
    kind = f"{platform.system()} {platform.machine()}"
    return f"{kind}, SLURM" if "SLURM_JOB_ID" in os.environ else kind


def submitted_source(snapshot: Path | None) -> Source | None:
    """Commit and dirt as a run.json or a copy's mark has them, or None where it is absent, damaged or does not say."""
    if snapshot is None:
        return None
    try:
        noted = read_json(snapshot)
    except UserError:
        return None
    commit = noted.get("commit") if isinstance(noted, dict) else None
    if not isinstance(commit, str) or not commit:
        return None
    dirty = noted.get("dirty")
    return Source(commit, dirty if isinstance(dirty, bool) else None)


def checkout_source(checkout: Path) -> Source:
    """Commit and dirt of the checkout that `checkout` is the top of. A copy without a repository has the commit that
    $HDIT_REPRO_COMMIT names, or an unknown one; whether it was changed since nobody can tell."""
    top = _git(checkout, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != checkout.resolve():
        return Source(os.environ.get(COMMIT_VARIABLE) or UNKNOWN, None)
    commit = _git(checkout, "rev-parse", "--verify", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    return Source(commit or UNKNOWN, None if changes is None else bool(changes))


def git(checkout: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Ask git of a checkout by its top folder. Hooks' GIT_* variables do not mislead it.

    Nor does another owner, as of a folder that a container was given: whose code runs is trusted already, and where its
    repository is named git asks for no owner. (`-c safe.directory` is ignored before git 2.38.)

    Raises:
        OSError: there is no git.
        subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    top = checkout.absolute()
    command = ["git", "-C", str(top), f"--git-dir={top / '.git'}", f"--work-tree={top}", *arguments]
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False, env=environment)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None where there is no git or no repository."""
    try:
        done = git(folder, *arguments, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else os.fsdecode(done.stdout).strip()
