"""What a job said last, where its process died before it could leave anything. No scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro.launch.slurm.journal import last_said

SRUN = "srun: error: n1: task 0: Exited with exit code 1"
MANY = "srun: error: n[1-2]: tasks 1-3: Exited with exit code 1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"Traceback:\nModuleNotFoundError: No module named 'submitit'\n{SRUN}\n", "ModuleNotFoundError: No module"),
        (f"slurmstepd: error: execve(): /no/python: No such file\n{SRUN}\n{MANY}\n\n", "slurmstepd: error: execve()"),
        ("boom\nsrun: Terminating StepId=7.0\n", "boom"),
        ("oom_kill event\nsrun: Force Terminated StepId=7.0\n", "oom_kill event"),
        ("boom\nsrun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n", "boom"),
        ("boom\nsrun: forcing job termination\n", "boom"),
        ("boom\nsrun: error: n1: task 0: Out Of Memory\n", "srun: error: n1: task 0: Out Of Memory"),
        (f"{SRUN}\n", SRUN),
        ("", ""),
        (None, ""),
    ],
)
def test_the_reason_is_not_hidden_by_what_srun_adds(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "7_1_0_log.err").write_text(text)
    found = last_said(tmp_path, "7_1")
    assert found.startswith(said)
    assert bool(found) == bool(said)
