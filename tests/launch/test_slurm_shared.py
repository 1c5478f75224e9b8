"""A folder of runs that several users share: nobody is stopped by jobs that are another's to cancel. No scheduler."""

from __future__ import annotations

import os

import pytest

from hdit_repro.errors import RunError
from hdit_repro.launch.slurm import journal, queue
from hdit_repro.launch.slurm.journal import Journal, Noted, Unit
from hdit_repro.launch.slurm.submit import recover
from hdit_repro.records.layout import Roots

MINE, THEIRS = os.getuid(), os.getuid() + 1
QUEUE = {MINE: "12|PENDING|Priority|0:00|mine\n", THEIRS: "7|PENDING|Priority|0:00|theirs\n"}
REFUSAL = "scancel: error: Kill job error on job id 7: Access/permission denied"


class Site:
    """SLURM's commands in a queue of two users, of whom each cancels their own."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def ask(self, command: str, *arguments: str) -> str:
        if command == "squeue":
            return "".join(QUEUE[int(user)] for user in arguments[3].split(","))
        assert command == "scancel"
        self.cancelled += [name for name in arguments[1:] if name != "7"]
        if "7" in arguments:
            raise RunError("scancel failed", found=REFUSAL, expected="an answer", fix="by hand")
        return ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site()
    monkeypatch.setattr(queue, "ask", found.ask)
    monkeypatch.setattr(journal, "submitters", lambda _: {MINE, THEIRS})
    monkeypatch.setattr("hdit_repro.launch.slurm.submit.SETTLING", 0.0)
    return found


def test_what_anothers_killed_submitter_left_stops_nobody(roots: Roots, site: Site) -> None:
    for name in ("mine", "theirs"):
        unit = Unit(name=name, kind="train", gpus=1, hours=1.0, elements=(Noted(stages=("train-1",)),), begun=True)
        journal.save(roots, Journal(session=name, cluster="a100", request={}, code="", units=[unit]))
    assert recover(roots) == {}, "neither is built upon"
    assert site.cancelled == ["12"]


def test_a_cancel_that_meets_anothers_jobs_says_whose_they_are(site: Site) -> None:
    with pytest.raises(RunError, match="jobs of another user were not cancelled") as told:
        queue.scancel(["7", "12", *map(str, range(1000, 1300))])
    assert len(site.cancelled) == 301, "all but that one"
    assert REFUSAL in str(told.value.found)
    assert "squeue -o '%i %u'" in told.value.fix
