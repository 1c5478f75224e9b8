"""Two SLURM clusters that share a folder of runs: neither knows the other's queue. No scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hdit_repro.cli.app import main
from hdit_repro.launch.gc import garbage
from hdit_repro.launch.slurm import act, journal
from hdit_repro.launch.slurm.live import look
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]


@pytest.fixture
def beta(roots: Roots, fake: Any, send: Send) -> Any:
    """The queue of another cluster than the one that a row was sent to."""
    send(roots, ["E"])
    fake.end_all()
    fake.call_it("beta")
    return fake


def test_what_another_cluster_took_is_neither_lost_nor_deleted(roots: Roots, beta: Any) -> None:
    tasks = known_tasks(roots, "table1/E")
    assert [row.state for row in look(roots, tasks).rows] == ["missing"] * 3
    assert {row.queue for row in look(roots, tasks).rows} == {"sent to alpha, whose queue is not asked here"}
    assert act.failed(roots, tasks) == []
    assert garbage(roots) == []
    beta.call_it("alpha")
    assert look(roots, tasks).rows[0].state == "failed"
    assert len(garbage(roots)) == 1


def test_who_submits_it_again_is_told(
    roots: Roots, beta: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    for row, told in (("E", 1), ("A", 0)):
        assert main(["submit", f"table1/{row}", "--cluster", "a100", "--allow-dirty", "--yes"]) == 0
        assert capsys.readouterr().err.count("were sent to alpha too, whose queue is not asked here") == told
    assert [entry.site for entry in journal.journals(roots)] == ["alpha", "beta", "beta"]
    assert look(roots, known_tasks(roots, "table1/E")).rows[0].state == "queued"


def test_a_site_that_does_not_say_its_name_is_the_only_one(roots: Roots, beta: Any) -> None:
    (beta.here / "config").unlink()
    assert look(roots, known_tasks(roots, "table1/E")).rows[0].state == "failed"
    assert journal.elsewhere(journal.journals(roots)) == {}
