"""What a report gathers: its rows in their order, and those that it has at a scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.cli.external import job_file
from hdit_repro.files import write_text
from hdit_repro.records.layout import Roots
from hdit_repro.render.report.facts import gather
from hdit_repro.spec.external import External

Measure = Callable[..., Path]


def test_a_row_of_ones_own_that_is_one_of_the_papers_leaves_it_in_its_place(
    roots: Roots, measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "jobs" / "aaa.toml", '[row.same]\nextends = "table1/E"\n')
    for name in ("table1/R1", "table1/E"):
        measure(name, "paper", 20.0)
    entries = [entry.job.name for entry in gather("paper", roots).measured]
    assert entries == ["table1/R1", "table1/E"]


def test_images_of_others_have_a_page_at_the_scale_of_their_size(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another they are refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    described = External(name="theirs.zip", digest="ab" * 32, images=100)
    (tmp_path / "jobs" / "them.toml").write_text(job_file("them", "table1/E", described), encoding="utf-8")
    found = {
        scale: {job.name for entry in gather(scale, roots).entries for job in entry.jobs}
        for scale in ("paper", "smoke")
    }
    assert "them" in found["paper"]
    assert found["paper"] - found["smoke"] == {"them"}
