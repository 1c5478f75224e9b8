"""What SLURM's commands are asked, and what of the user's surroundings they see. No scheduler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hdit_repro.errors import RunError
from hdit_repro.launch.slurm import queue

FILTERS = {
    "SACCT_FORMAT": "JobID",
    "SCANCEL_INTERACTIVE": "true",
    "SCANCEL_STATE": "RUNNING",
    "SINFO_PARTITION": "h100",
    "SQUEUE_PARTITION": "h100",
    "SQUEUE_STATES": "RUNNING",
}
"""A user's habits, by which SLURM's commands show less, or ask back."""


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_users_filters_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**FILTERS, "SLURM_CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setenv(name, value)
    command(tmp_path, monkeypatch, "squeue", "env")
    seen = dict(line.split("=", 1) for line in queue.ask("squeue").splitlines() if "=" in line)
    assert not FILTERS.keys() & seen.keys()
    assert seen["SLURM_CONF"] == "/etc/slurm.conf"
    assert os.environ["SQUEUE_STATES"] == "RUNNING", "the submitter keeps its own"


def test_partitions_that_a_site_hides_are_seen_with_their_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = '[[ " $* " == *" -a "* ]] || exit 0'
    command(tmp_path, monkeypatch, "squeue", f"{everything}\necho '7|RUNNING|None|0:01|ours'")
    command(tmp_path, monkeypatch, "sinfo", f"{everything}\necho 'hidden|up|2|gpu:a100:8|idle'")
    assert list(queue.squeue()) == ["7"]
    assert list(queue.partitions()) == ["hidden"]


def test_a_user_whom_squeue_does_not_know_has_no_empty_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of users that does not answer for a moment: squeue lists nothing, and exits with 0."""
    command(tmp_path, monkeypatch, "squeue", f"echo 'squeue: error: Invalid user: {os.getuid()}' >&2; echo >&2")
    with pytest.raises(RunError, match="squeue failed"):
        queue.squeue()
    command(tmp_path, monkeypatch, "squeue", f"echo 'squeue: error: Invalid user: 1{os.getuid()}' >&2")
    assert queue.squeue() == {}, "a colleague who has left"


def test_elements_that_never_began_have_their_end_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["12_1|FAILED", "12_[0,2-6:2%4]|CANCELLED by 0", "13|TIMEOUT", "14_[0-1]|PENDING", "15_[0,2,...]|CANCELLED"]
    command(tmp_path, monkeypatch, "sacct", "\n".join(f"echo '{line}'" for line in said))
    assert queue.ended(["12_4", "13"]) == {
        "12_1": "FAILED", **{f"12_{place}": "CANCELLED by 0" for place in (0, 2, 4, 6)}, "13": "TIMEOUT",
        "15_[0,2,...]": "CANCELLED",
    }  # fmt: skip
