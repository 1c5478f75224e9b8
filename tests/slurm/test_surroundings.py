"""A submission from inside another job, and a site that gives jobs no environment, on a real SLURM."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm import journal
from hdit_repro.records.layout import Roots

pytestmark = pytest.mark.slurm

SUBMITTER = """
from pathlib import Path
from slow_stages import STAGES
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.submit import submit
from hdit_repro.records.layout import Roots

roots = Roots(Path("runs").resolve(), Path("results").resolve())
submit(wanted("table1", "smoke", ["A"]), roots, read_cluster("tiny"), render=("this",), allow_dirty=True, stages=STAGES)
"""


def ends(roots: Roots, until: Callable[..., None]) -> None:
    """Wait for the row's measurement."""
    until(lambda: tasks_for(wanted("table1", "smoke", ["A"]), roots)[-1].folder.done("evaluate"), 90)


def test_a_graph_submitted_from_an_element_of_an_array_runs_under_its_own_ids(
    here: Path, roots: Roots, profile: Any, slow: ModuleType, until: Callable[..., None]
) -> None:
    profile()
    outer = shlex.join([sys.executable, "-c", SUBMITTER])
    order = ["sbatch", "--parsable", "-p", "h100", "--array=3-3", "-o", str(here / "outer.txt"), "--wrap", outer]
    subprocess.run(order, check=True, capture_output=True, cwd=here)
    until(lambda: journal.journals(roots) and journal.journals(roots)[0].state == "whole")
    ends(roots, until)


@pytest.mark.parametrize("where", ["profile", "variable"])
def test_a_site_that_gives_jobs_no_environment(
    here: Path, roots: Roots, profile: Any, slow: ModuleType, until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    profile(sbatch='"export" = "NONE"' if where == "profile" else "")
    if where == "variable":
        monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    setup = f'setup = ["export PYTHONPATH={Path(slow.__file__).parent}"]\n'
    path = here / "jobs" / "clusters" / "tiny.toml"
    path.write_text(path.read_text() + setup)
    subprocess.run([sys.executable, "-c", SUBMITTER], check=True, cwd=here)
    ends(roots, until)
