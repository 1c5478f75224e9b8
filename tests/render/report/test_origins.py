"""The commands that give the numbers of a row again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.cli.external import job_file
from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.render.report.facts import Entry
from hdit_repro.render.report.origins import commands
from hdit_repro.spec.external import External

Measure = Callable[..., Path]


def test_commands_give_every_seed_and_sampling(roots: Roots, measure: Measure) -> None:
    record = store.read(measure("table1/E", "paper", 27.0, seed=2))
    entry = Entry((jobs.find("table1/E"),), (record, msgspec.structs.replace(record, sampling_seed=1)), ())
    assert commands(entry, "paper")[1:] == [
        "hdit-repro submit table1 --rows E --cluster a100 --seeds 3 --sampling-seeds 2",
        "hdit-repro report",
    ]


def test_records_of_several_commits_have_commands_of_their_own(roots: Roots, measure: Measure) -> None:
    """One checkout after another would leave the last one's code for all of them."""
    first, second, third = (store.read(measure("table1/E", "paper", 27.0, seed=seed)) for seed in range(3))
    made = msgspec.structs.replace(second.provenance, commit="b" * 40)
    second = msgspec.structs.replace(second, provenance=made)
    entry = Entry((jobs.find("table1/E"),), (first, second, third), ())
    assert commands(entry, "paper") == [
        f"# {first.training_id}/{first.evaluation_id}.json, {third.training_id}/{third.evaluation_id}.json",
        f"git checkout {first.provenance.commit}",
        "hdit-repro submit table1 --rows E --cluster a100 --seeds 3",
        f"# {second.training_id}/{second.evaluation_id}.json",
        f"git checkout {'b' * 40}",
        "hdit-repro submit table1 --rows E --cluster a100 --seeds 2",
        "hdit-repro report",
    ]


def test_images_of_others_are_imported_and_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    described = External(name="theirs.zip", digest="ab" * 32, images=100)
    (tmp_path / "jobs" / "them.toml").write_text(job_file("them", "table1/E", described), encoding="utf-8")
    assert commands(Entry((jobs.find("them"),), (), ()), "paper") == [
        "hdit-repro import --from images --name them --like table1/E PATH",
        "hdit-repro eval --run them",
        "hdit-repro report",
    ]
