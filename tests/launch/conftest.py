"""A made-up workplace, stages without torch that other processes can import too, and SLURM without a scheduler."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro.launch.clusters import Local, read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm import journal
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted, submit
from hdit_repro.records.layout import Roots

HERE = Path(__file__).resolve().parent


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of made-up stages, importable here and in every process started from here."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield import_module("made_up_stages")
    sys.modules.pop("made_up_stages", None)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "runs").mkdir()
    return Roots(tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def two_at_once() -> Local:
    return Local(name="local", jobs_at_once=2, cpu_macs_per_second=1e10, cpu_features_per_second=10.0)


SBATCH = """
[ "$1" = --test-only ] && exit 0
script="${@: -1}"
number=$(wc -l < {here}/calls)
echo "$*" >> {here}/calls
[ -f {here}/refuse ] && [ $number = $(cat {here}/refuse) ] && { echo "sbatch: error: no more" >&2; exit 1; }
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
id=$((100 + number))
if [ -n "$last" ]; then
  for place in $(seq 0 "$last"); do echo "${id}_$place|PENDING|Priority|0:00|$name" >> {here}/queue; done
else
  echo "$id|PENDING|Priority|0:00|$name" >> {here}/queue
fi
echo "Submitted batch job $id"
"""

SCANCEL = """
for id in "$@"; do
  [ "$id" = -Q ] || { grep -v "^$id[_|]" {here}/queue > {here}/left; mv {here}/left {here}/queue; }
done
"""

COMMANDS = {
    "sbatch": SBATCH,
    "scancel": SCANCEL,
    "squeue": "cat {here}/queue",
    "sinfo": "echo 'a100|up|2|gpu:a100:8|idle'",
    "scontrol": "cat {here}/config",
}


class FakeSlurm:
    """SLURM's commands as a few lines of shell, to see what a submission leaves in the queue.

    `queue` and `calls` are files of its folder.

    Args:
        here: the folder; goes first on PATH.
    """

    def __init__(self, here: Path) -> None:
        self.here = here
        here.mkdir()
        for name in ("queue", "calls"):
            (here / name).touch()
        self.call_it("alpha")
        for name, body in COMMANDS.items():
            (here / name).write_text("#!/bin/bash\n" + body.replace("{here}", shlex.quote(str(here))))
            (here / name).chmod(0o755)

    @property
    def queue(self) -> list[str]:
        """Ids of what is in the queue, arrays element by element."""
        return [line.partition("|")[0] for line in (self.here / "queue").read_text().splitlines()]

    @property
    def calls(self) -> list[str]:
        """The arguments of each call of sbatch that was to submit."""
        return (self.here / "calls").read_text().splitlines()

    def call_it(self, name: str) -> None:
        """What this SLURM calls its cluster."""
        (self.here / "config").write_text(f"AccountingStorageHost   = n1\nClusterName             = {name}\n")

    def refuse(self, call: int) -> None:
        """From now on sbatch refuses its call of this number, counted from 0 and from the start."""
        (self.here / "refuse").write_text(str(call))

    def show(self, *lines: str) -> None:
        """The queue as squeue tells it: id, state, reason, time used, name."""
        (self.here / "queue").write_text("".join(f"{line}\n" for line in lines))

    def end_all(self) -> None:
        """Empty the queue."""
        self.show()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("hdit_repro.launch.slurm.submit.SETTLING", 0.0)
    return made


@pytest.fixture(scope="session")
def send() -> Callable[[Roots, list[str]], Submitted]:
    """Submit rows of Table 1 to the profile a100."""
    return _send


def _send(roots: Roots, rows: list[str]) -> Submitted:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    return submit(wanted("table1", "paper", rows), roots, profile, render=("this",), allow_dirty=True)


@pytest.fixture(scope="session")
def states() -> Callable[[Roots], list[str]]:
    """State of each submission that was begun, from the journals."""
    return _states


def _states(roots: Roots) -> list[str]:
    return [entry.state for entry in journal.journals(roots)]
