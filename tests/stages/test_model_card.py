"""The card of a run: every kind of row has one, and what it says is the run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.data import DATASETS
from hdit_repro.stages.model_card import TERMS, _value, model_card, write_card


def card_of(name: str, scale: str, tmp_path: Path) -> str:
    job = jobs.find(name, scale)
    return model_card(job, RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, scale))


def test_every_row_has_a_card(tmp_path: Path) -> None:
    for job in jobs.all_jobs():
        card = card_of(job.name, "paper", tmp_path)
        assert card.startswith(f"# {job.name}: {job.label}\n")
        assert job.run.training_id in card
        assert "- Numbers: not measured" in card
        assert TERMS[kind_of(job.run.data.dataset)] in card
    assert set(TERMS) == {*DATASETS, "folder"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("table1/E", ["384 x 2 neighborhood, 768 x 11 global", "soft_min_snr", "400,000 steps of 256 images"]),
        ("table1/R1", ["dit of width 768 and depth 12", "gaussian diffusion, 400,000", "tf32", "mirrored"]),
        ("imagenet256", ["256, then 512, then 1024, then 2048 images (742,400,000)"]),
        ("ffhq1024", ["CC BY-NC-SA 4.0", "no classes", "augmentation with probability"]),
    ],
)
def test_what_a_card_says(name: str, words: list[str], tmp_path: Path) -> None:
    card = card_of(name, "paper", tmp_path)
    for word in words:
        assert word in card


def test_it_lies_in_the_runs_folder(tmp_path: Path) -> None:
    job = jobs.find("table1/E", "smoke")
    path = write_card(job, RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), job.run, "smoke"))
    assert path == tmp_path / "runs" / job.run.id / "card.md"
    assert "at smoke scale" in path.read_text()


def test_an_interval_stands_behind_its_number() -> None:
    assert _value(Metric(value=182.681)) == "182.7"
    measured = Metric(value=182.681, low=175.23, high=190.13, interval="95 %, jackknife")
    assert _value(measured) == "182.7, interval 175.2 to 190.1 (95 %, jackknife)"
