"""A profile held against what a site says of itself. No scheduler."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro.errors import RunError, UserError
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.slurm import preflight, queue
from hdit_repro.launch.slurm.profile import Slurm

SITE = [
    "a100|up|2|gpu:a100:8(S:0-1)|idle", "a100|up|2|gpu:a100:4|idle", "debug|up|1|gpu:v100:2|idle",
    "old|down|1|gpu:v100:8|idle",
]  # fmt: skip


def check(monkeypatch: pytest.MonkeyPatch, *site: str, **changes: Any) -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    monkeypatch.setattr(queue, "ask", lambda *_: "\n".join(site))
    preflight.check_site(msgspec.structs.replace(profile, **changes))


def test_nodes_of_a_partition_may_differ_and_the_largest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for site in (SITE, SITE[::-1]):
        check(monkeypatch, *site)
    with pytest.raises(UserError, match="no node of partition a100 has 8 GPUs") as refusal:
        check(monkeypatch, *SITE[1:])
    assert refusal.value.fix == "set gpus_per_node = 4"


def test_a_partition_may_be_the_sites_own_or_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, *SITE, partition="")
    check(monkeypatch, *SITE, partition="debug, a100", cpu_partition="debug,a100")
    with pytest.raises(UserError, match="no node of any partition has gpu:h100"):
        check(monkeypatch, *SITE, partition="", gres="gpu:h100")
    with pytest.raises(UserError, match="partition old takes no jobs"):
        check(monkeypatch, *SITE, partition="a100,old")
    with pytest.raises(UserError, match="a101"):
        check(monkeypatch, *SITE, partition="a101,debug")


def test_a_greeting_among_what_sinfo_prints_is_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, "Welcome! | Maintenance on Monday", "", *SITE)


def test_a_job_may_be_no_longer_than_its_partition_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's default is to queue it, and to start it never; `sbatch --test-only` has nothing against it."""
    monkeypatch.delenv("SBATCH_QOS", raising=False)
    short, days = (
        f"{name}|up|2|gpu:a100:8|idle|{most}" for name, most in (("a100", "12:30:00"), ("long", "2-00:00:00"))
    )
    with pytest.raises(UserError, match="jobs may be longer than partition a100 takes") as refusal:
        check(monkeypatch, short, days)
    assert refusal.value.found == "time_limit_hours = 24 in jobs/clusters/a100.toml"
    assert refusal.value.expected == "12.5 at most"
    assert str(refusal.value.fix).startswith("set time_limit_hours = 12.5;")
    check(monkeypatch, short, days, time_limit_hours=12.5)
    check(monkeypatch, short, days, partition="a100,long")
    check(monkeypatch, short, days, qos="long")
    check(monkeypatch, short, days, sbatch={"time": "12:00:00"})
    for most in ("infinite", "n/a", "24:00:00", "1-00:00:00"):
        check(monkeypatch, f"a100|up|2|gpu:a100:8|idle|{most}")
    with pytest.raises(UserError, match="longer"):
        check(monkeypatch, "a100|up|2|gpu:a100:8|idle|30:00")


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        ("exec sleep 60", RunError, "SLURM does not answer"),
        ("echo sbatch: error: Invalid qos >&2; exit 1", UserError, "SLURM would not take a job of this profile"),
    ],
)
def test_an_sbatch_that_hangs_is_told_apart_from_one_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: type[UserError], problem: str
) -> None:
    fake = tmp_path / "sbatch"
    fake.write_text(f"#!/bin/bash\n{body}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(queue, "PATIENCE", 0.5 if kind is RunError else 60.0)
    with pytest.raises(UserError, match=problem) as told:
        preflight.try_script("#!/bin/bash\n")
    assert type(told.value) is kind
    assert kind is RunError or told.value.found == "sbatch: error: Invalid qos"
