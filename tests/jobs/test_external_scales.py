"""Images of others at a scale: they keep their size, so that a scale of another resolution has no such row."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.launch.plan import wanted

THEIRS = """
experiment = "theirs"
title = "Images of others"

[row.small]
extends = "table1/E"
data = {{ resolution = {small} }}
external = {{ name = "small", digest = "{digest}", images = 100 }}

[row.large]
extends = "table1/E"
external = {{ name = "large", digest = "{digest}", images = 100 }}
"""


def test_a_scale_of_another_resolution_refuses_them_when_the_row_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (jobs.find("table1/E", scale).run.data.resolution for scale in ("smoke", "paper"))
    assert small < large
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "theirs.toml").write_text(THEIRS.format(small=small, digest="0" * 64))
    monkeypatch.chdir(tmp_path)
    assert jobs.find("theirs/small", "smoke").run.data.resolution == small
    assert jobs.find("theirs/large").run.data.resolution == large
    with pytest.raises(UserError, match="not made smaller by a scale") as refusal:
        jobs.find("theirs/large", "smoke")
    assert refusal.value.expected == f"the images' own {large} x {large}"
    assert [job.name for job in jobs.standing("smoke") if job.experiment == "theirs"] == ["theirs/small"]


@pytest.mark.parametrize("part", ["sampling = { guidance = 2.0 }", "training = { steps = 3 }"])
def test_how_images_of_others_were_made_cannot_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It was read, and changed nothing."""
    (tmp_path / "jobs").mkdir()
    text = THEIRS.format(small=128, digest="0" * 64)
    (tmp_path / "jobs" / "theirs.toml").write_text(f'{text}{part}\n[row.again]\nextends = "small"\n{part}\n')
    monkeypatch.chdir(tmp_path)
    for row in ("large", "again"):
        with pytest.raises(UserError, match="nothing reads their"):
            jobs.find(f"theirs/{row}")


def test_images_of_others_have_no_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More were asked for, and one was measured."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "theirs.toml").write_text(THEIRS.format(small=128, digest="0" * 64))
    monkeypatch.chdir(tmp_path)
    assert len(wanted("theirs/large", "paper")) == 1
    for more in ({"seeds": 2}, {"samplings": 3}):
        with pytest.raises(UserError, match="whatever the seed"):
            wanted("theirs", "paper", **more)
