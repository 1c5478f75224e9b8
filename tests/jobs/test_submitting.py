"""Commands that texts suggest are carried out and not refused."""

from __future__ import annotations

import re
from pathlib import Path

from hdit_repro import jobs
from hdit_repro.jobs.submitting import CLUSTER, submitting
from hdit_repro.launch.clusters import Slurm, read_cluster

TREE = Path(__file__).parents[2]


def test_the_papers_scale_is_for_a_cluster_and_others_for_here() -> None:
    """One machine refuses it, so that the command of README and tables was one that always failed."""
    assert (
        submitting("table1", "paper", " --seeds 3", wait=True)
        == f"hdit-repro submit table1 --cluster {CLUSTER} --seeds 3"
    )
    assert submitting("table1", "mini", " --seeds 3") == "hdit-repro submit table1 --scale mini --seeds 3"
    assert submitting("table1", "smoke", wait=True) == "hdit-repro submit table1 --scale smoke --wait"
    assert isinstance(read_cluster(CLUSTER), Slurm)


def test_every_command_of_tables_and_readme_is_one_that_is_not_refused() -> None:
    seen = set()
    for path in (TREE / "README.md", *(TREE / "tables").rglob("*.md")):
        for line in re.findall(r"hdit-repro submit [^`\n]*", path.read_text(encoding="utf-8")):
            assert "--scale paper" not in line, (path.name, line)
            name = line.split()[2]
            if "--scale" not in line and "--cluster" in line and "/" not in name:
                seen.add(name)
                assert jobs.read(name).rows
    assert {"table1", "ffhq1024", "imagenet256", "scaling"} <= seen
