"""What surrounds a submission: a job that it is made from, sbatch's own variables. No scheduler."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

import pytest

from hdit_repro.launch.slurm import preflight
from hdit_repro.launch.slurm.executor import Executor
from hdit_repro.launch.slurm.script import unwanted

AROUND = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_JOB_ID": "6",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURM_RESTART_COUNT": "2",
    "SLURM_MEM_PER_NODE": "1",
    "SUBMITIT_FOLDER": "/else",
    "MASTER_ADDR": "else",
    "SBATCH_PARTITION": "debug",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_MEM_PER_CPU": "1",
    "SBATCH_ARRAY_INX": "0-9",
    "SBATCH_WAIT": "1",
}
"""What no job may inherit, and sbatch may not take for more than the script."""

LEFT = {"SBATCH_ACCOUNT": "lab", "SLURM_CONF": "/etc/slurm.conf", "HDIT_REPRO_DATA": "/data"}

TEXT = "#!/bin/bash\n#SBATCH --partition=a100\n#SBATCH --time=60\n#SBATCH --job-name=ours\n#SBATCH --mem=1M\n"


def test_a_job_around_the_submission_and_what_would_win_over_the_script_are_hidden() -> None:
    assert unwanted(TEXT, {**AROUND, **LEFT}) == sorted(AROUND)
    assert unwanted(f"{TEXT}#SBATCH --account=ours\n", LEFT) == ["SBATCH_ACCOUNT"]
    assert unwanted("", {"SLURM_HINT": "nomultithread", "SBATCH_PARTITION": "debug"}) == [], "no job, and nothing said"


@pytest.mark.parametrize("call", ["submit", "try"])
def test_sbatch_sees_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    fake = tmp_path / "sbatch"
    fake.write_text(f"#!/bin/bash\nenv > {quote(str(tmp_path))}/seen\necho Submitted batch job 100\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name, value in {**AROUND, **LEFT}.items():
        monkeypatch.setenv(name, value)
    if call == "try":
        preflight.try_script(TEXT)
    else:
        told = {"job_name": "ours", "partition": "a100", "time": 60, "mem": "1M"}
        assert Executor(tmp_path / "own", told, 1).submit_unit([int]) == "100"
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert not AROUND.keys() & seen.keys()
    assert {name: seen[name] for name in LEFT} == LEFT
    assert os.environ["SLURM_JOB_ID"] == "7", "the submitter keeps its own"
