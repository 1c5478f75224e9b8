"""Hours from measured speed; memory of a stage; the card of this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro import cost, jobs
from hdit_repro.cost.memory import ROOM, training_memory
from hdit_repro.errors import UserError
from hdit_repro.launch import price, throughput
from hdit_repro.launch.clusters import Cluster, card_here, gpus_here, read_cluster
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.room import room
from hdit_repro.launch.slurm import probe
from hdit_repro.launch.throughput import FORMAT, measured
from hdit_repro.launch.work import forward_images
from hdit_repro.records.layout import Roots

CARD = "NVIDIA A100-SXM4-80GB"
E_MACS = 31_369_003_008


def train_part(**changes: Any) -> dict[str, Any]:
    part = {"use": "train", "run": "table1/E", "macs": E_MACS, "images_per_s": 1000.0, "batch": 64, "compiled": False}
    return {**part, **changes}


def features_part(speed: float) -> dict[str, Any]:
    return {"use": "features", "images_per_s": speed}


def write(
    folder: Path, name: str, card: str = CARD, began: str = "2026-01-01", tiny: bool = False, **parts: Any
) -> Path:
    tree = {"format": FORMAT, "tiny": tiny, "machine": {"card": card, "began": began}, "parts": parts}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the project's own."""
    folder = tmp_path / "measured"
    folder.mkdir()
    monkeypatch.setattr(throughput, "shipped", lambda name: folder)
    return folder


def hours(experiment: str, stage: str, cluster: str = "a100") -> price.Price:
    return price.price(jobs.find(experiment).run, stage, "paper", read_cluster(cluster))


def test_a_measured_run_takes_its_images_over_its_rate(results: Path) -> None:
    before = hours("table1/E", "train")
    assert "60 A100-hours" in before.basis
    write(results, "a100", eager=train_part(), compiled=train_part(images_per_s=2000.0, compiled=True))
    after = hours("table1/E", "train")
    assert after.gpu_hours == pytest.approx(102_400_000 / 2000 / 3600)
    assert "measured" in after.basis
    assert "compiled" in after.basis
    assert CARD in after.basis
    assert "benchmarks/results/a100.json" in after.basis
    assert "scaled" not in after.basis


def test_another_run_is_scaled_by_macs_from_the_nearest(results: Path) -> None:
    write(results, "a100", small=train_part(), large=train_part(run="x", macs=200 * 10**9, images_per_s=100.0))
    run = jobs.find("imagenet256").run
    macs = cost.count(run.model, 256).macs
    found = hours("imagenet256", "train")
    assert found.gpu_hours == pytest.approx(run.training.samples_seen / (100.0 * 200e9 / macs) / 3600)
    assert "scaled by MACs" in found.basis


def test_a_bill_of_another_arithmetic_is_brought_to_the_run_s_by_the_card_s_peaks(results: Path) -> None:
    """R1 and R2 have nearly the same MACs; R1 multiplies in TF32, which an A100 does half as fast as bfloat16."""
    for stage, calls in (("train", 1), ("sample", 5)):
        r1, r2 = (hours(f"table1/{row}", stage) for row in ("R1", "R2"))
        assert r1.gpu_hours == pytest.approx(2 * calls * r2.gpu_hours, rel=1e-3)
        assert "; brought from bfloat16 to tf32 by A100's peaks, 312 and 156 TFLOP/s" in r1.basis
        assert "brought" not in r2.basis
    assert "brought" not in hours("table1/R1", "evaluate").basis
    run, a100, h100 = jobs.find("table1/E", "mini").run, read_cluster("a100"), read_cluster("h100")
    single = msgspec.structs.replace(run, training=msgspec.structs.replace(run.training, precision="float32"))

    def times(cluster: Cluster) -> float:
        both = [price.price(one, "train", "mini", cluster).gpu_hours for one in (single, run)]
        return both[0] / both[1]

    assert (times(a100), times(h100)) == (pytest.approx(312 / 19.5), pytest.approx(989.4 / 66.9))
    drawn = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, precision="float32"))
    assert "to float32" in price.price(drawn, "sample", "mini", a100).basis
    assert "brought" not in price.price(drawn, "train", "mini", a100).basis


def test_a_measurement_of_another_arithmetic_is_brought_too(results: Path) -> None:
    """A file that does not say was measured in bfloat16; one of the run's own arithmetic comes first."""
    run = jobs.find("table1/R1").run
    macs, seen = cost.count(run.model, run.data.resolution).macs, run.training.samples_seen
    write(results, "a100", eager=train_part(run="table1/R2", macs=macs))
    found = hours("table1/R1", "train")
    assert found.gpu_hours == pytest.approx(2 * seen / 1000 / 3600)
    assert "; brought from bfloat16 to tf32 by A100's peaks" in found.basis
    own = train_part(precision="tf32", images_per_s=700.0)
    write(results, "a100", eager=train_part(run="table1/R2", macs=macs), own=own)
    found = hours("table1/R1", "train")
    assert found.gpu_hours == pytest.approx(seen * macs / (700 * E_MACS) / 3600)
    assert "brought" not in found.basis
    assert "brought" not in hours("table1/E", "train").basis
    write(results, "a100", eager=train_part(precision="float23"))
    with pytest.raises(UserError, match=r"a100\.json"):
        measured("A100")


def test_sampling_and_features_have_rates_of_their_own(results: Path) -> None:
    sampler = {"use": "sample", "run": "table1/E", "macs": E_MACS, "calls_per_s": 40.0, "batch": 64}
    write(results, "a100", sampler=sampler, inception={"use": "features", "images_per_s": 2500.0})
    assert hours("table1/E", "sample").gpu_hours == pytest.approx(50_000 * 50 / (40 * 64) / 3600)
    assert hours("table1/E", "evaluate").gpu_hours == pytest.approx(50_000 / 2500 / 3600)
    assert "60 A100-hours" in hours("table1/E", "train").basis  # nothing of the kind was measured


def test_what_was_not_measured_on_the_card_is_not_used(results: Path) -> None:
    write(results, "tiny", tiny=True, eager=train_part())
    write(results, "other", card="NVIDIA H100 80GB HBM3", eager=train_part())
    write(results, "forty", card="NVIDIA A100-SXM4-40GB", eager=train_part())
    write(results, "failed", eager=train_part(error="out of memory"))
    assert "60 A100-hours" in hours("table1/E", "train").basis
    assert "measured" in hours("table1/E", "train", "h100").basis
    assert measured("a card nobody knows") is None


def test_the_newest_file_of_a_card_counts(results: Path) -> None:
    write(results, "z", began="2026-01-01", eager=train_part())
    write(results, "a", began="2026-02-01", eager=train_part(images_per_s=500.0))
    found = measured("A100")
    assert found is not None
    assert found.rates[0].macs_per_second == pytest.approx(3 * 500 * E_MACS)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 1}', '{"format": 1, "tiny": false, "machine": {}, "parts": {}}', ""]
)
def test_a_damaged_file_is_named(results: Path, text: str) -> None:
    (results / "bad.json").write_text(text)
    with pytest.raises(UserError, match=r"bad\.json"):
        measured("A100")


def test_a_part_without_its_numbers_is_named(results: Path) -> None:
    unlikely = [{"macs": 0}, {"macs": -1, "images_per_s": -1.0}, {"images_per_s": 0}, {"images_per_s": "fast"}]
    for part in ({"use": "train"}, [], *(train_part(**changes) for changes in unlikely), features_part(0.0)):
        write(results, "bad", eager=part)
        with pytest.raises(UserError, match=r"bad\.json"):
            measured("A100")


def test_the_card_of_this_machine_is_read_from_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "0000:01:00.0"
    folder.mkdir()
    (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 12\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert card_here(tmp_path) == "NVIDIA H100 80GB HBM3"
    assert card_here(tmp_path / "none") == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert card_here(tmp_path) == ""


def test_cards_are_counted_where_the_drivers_command_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none, as many rows as there are CPUs would start on one card."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_here(tmp_path) == []
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus_here(tmp_path) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert gpus_here(tmp_path) == ["3"]


def test_a_driver_that_gives_no_answer_hides_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("subprocess.run", hangs)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia0").touch()
    assert gpus_here(tmp_path) == ["0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert probe.gpus() == ["3"]


def test_a_card_in_this_machine_is_priced_by_its_peak(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdit_repro.launch.clusters.card_here", lambda: "NVIDIA H100 80GB HBM3")
    run = jobs.find("table1/E", "mini").run
    found = price.price(run, "train", "mini", read_cluster("local"))
    flops = 6 * cost.count(run.model, 64).macs * run.training.samples_seen
    assert found.hours == pytest.approx(flops / (price.ASSUMED_MFU * 989.4e12) / 3600)
    assert "assumed: 20%" in found.basis
    assert price.unit(read_cluster("local")) == "H100"
    drawn = msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, precision="float32"))
    assert "66.9 TFLOP/s in float32" in price.price(drawn, "sample", "mini", read_cluster("local")).basis
    evaluation = price.price(run, "evaluate", "mini", read_cluster("local"), real=0)  # another network: no peak says
    assert evaluation.hours == pytest.approx(run.sampling.count / price.A100_FEATURES_PER_SECOND / 3600)


def test_a_plan_says_how_each_training_fits(roots: Roots) -> None:
    stages = {(s.run, s.stage): s for s in make_plan(wanted("ffhq1024", "paper"), roots, read_cluster("a100"))}
    run = jobs.find("ffhq1024").run
    train = stages["ffhq1024", "train"].room
    assert train == room(run, "A100", read_cluster("a100").train_gpus)  # type: ignore[union-attr]
    assert train.draws == run.training.batch // 4
    assert train.microbatch < train.draws
    assert 0 < train.memory <= ROOM * train.card_memory == ROOM * 80 * 2**30
    assert train.words.endswith(f"of 80 GiB in pieces of {train.microbatch}")
    assert stages["ffhq1024", "sample"].room.words == ""
    row = stages["ffhq1024", "train"].as_row()
    assert row["room"]["microbatch"] == train.microbatch


def test_a_small_card_recomputes_or_refuses() -> None:
    run = jobs.find("ffhq1024").run
    whole = training_memory(run.model, 1, run.training.precision, processes=64).total / 2**30
    assert whole < 24
    assert room(run, "L4", 256).words.startswith(f"{whole:.1f} of 24 GiB")
    large = room(run, "L4", 256, averages=100)
    assert (large.microbatch, large.recompute, large.words.partition(": ")[2]) == (0, True, "does not fit")
    assert (
        room(run, "no such card", 64).words
        == f"{training_memory(run.model, 4, run.training.precision, processes=64).total / 2**30:.1f} GiB"
    )


def test_the_bills_come_to_the_shares_that_the_assumption_names() -> None:
    def share(macs: int, images: int, hours: float, peak: float) -> int:
        return round(100 * 6 * macs * images / (hours * 3600 * peak))

    assert share(E_MACS, 102_400_000, 60.0, 312e12) == 29
    run = jobs.find("imagenet256").run
    assert share(cost.count(run.model, 256).macs, run.training.samples_seen, 1459.0, 989.4e12) == 17


def test_mini_rows_take_two_minutes_of_an_h100_at_a_quarter_of_its_peak() -> None:
    """By MACs: training and sampling of a row in two minutes, fifteen seconds of them for starting and measuring; all
    ten in twenty."""
    seconds = []
    for job in wanted("table1", "mini"):
        macs = cost.count(job.run.model, job.run.data.resolution).macs
        work = sum(2 * macs * forward_images(job.run, stage) for stage in ("train", "sample"))
        seconds.append(15 + work / (0.25 * 989.4e12))
    assert max(seconds) <= 120
    assert sum(seconds) <= 20 * 60
