"""What a report says of what its numbers cost, by stage and device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from hdit_repro.records import store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Record, seal
from hdit_repro.render.report import build
from hdit_repro.render.report.cost import spent

Measure = Callable[..., Path]


def test_what_it_cost_names_the_hardware_of_every_stage(roots: Roots, measure: Measure) -> None:
    path = measure("table1/E", "paper", 27.0)
    record = store.read(path)
    made = msgspec.structs.replace(record.provenance, versions={"device while training": "NVIDIA H100"})
    store.write(seal(msgspec.structs.replace(record, provenance=made)), path)
    page = (build("paper", roots).folder / "index.md").read_text(encoding="utf-8")
    assert " of computing time, on NVIDIA H100, cpu." in page


def test_what_it_cost_counts_each_training_and_each_sampling_once(roots: Roots, measure: Measure) -> None:
    names = ("guidance/w1.0", "guidance/w1.1")
    paths = [measure(name, "mini", 20.0 + number) for number, name in enumerate(names)]
    read = [store.read(path) for path in paths]
    made = msgspec.structs.replace(
        read[0].provenance,
        device="NVIDIA H100",
        seconds={"train": 36_000.0, "sample": 7_200.0, "evaluate": 1_800.0},
        gpu_hours=42.5,
    )  # ten hours on four GPUs, then two and a half on one
    records = [msgspec.structs.replace(record, provenance=made) for record in read]
    assert (spent(records[:1]).total, spent(records[:1]).seconds) == (42.5, 45_000.0)
    for found in (spent(records), spent([*records, records[0]])):
        assert (found.total, found.seconds) == (45.0, 54_000.0)


def test_what_it_cost_is_split_by_stage_and_device(roots: Roots, measure: Measure) -> None:
    """Two sets of samples of one training: the first drawn on two kinds of card, the other on a processor."""
    trained, measured = {"NVIDIA H100": 40.0}, {"cpu (8 cores)": 0.0}
    drawn = ({"NVIDIA A100": 1.5, "NVIDIA H100": 0.5}, {"cpu (8 cores)": 0.0})
    for number, (name, sample) in enumerate(zip(("guidance/w1.0", "guidance/w1.1"), drawn, strict=True)):
        path = measure(name, "mini", 20.0 + number)
        record, hours = store.read(path), 40.0 + sum(sample.values())
        split = {"train": trained, "sample": sample, "evaluate": measured}
        made = msgspec.structs.replace(record.provenance, gpu_hours=hours, gpu_hours_by_stage=split)
        store.write(seal(msgspec.structs.replace(record, provenance=made)), path)
    folder = build("mini", roots).folder
    page = (folder / "index.md").read_text(encoding="utf-8")
    assert "Spent: 42.0 GPU-hours, " in page
    assert " of computing time, on NVIDIA A100, NVIDIA H100, cpu, cpu (8 cores)." in page
    lines = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in page.splitlines()]
    at = lines.index(("stage", "device", "GPU-hours"))
    assert lines[at + 2 : at + 6] == [
        ("train", "NVIDIA H100", "40.0"), ("sample", "NVIDIA A100", "1.5"), ("sample", "NVIDIA H100", "0.5"), (),
    ]  # fmt: skip
    assert "of an older shape" not in page
    row = (folder / "rows" / "guidance-w1.0.md").read_text(encoding="utf-8")
    assert "train 40.0 on NVIDIA H100; sample 1.5 on NVIDIA A100, 0.5 on NVIDIA H100; evaluate cpu (8 cores)" in row


def test_of_older_records_it_is_said_that_the_sum_alone_is_known(roots: Roots, measure: Measure) -> None:
    path = measure("table1/E", "mini", 20.0)
    record = store.read(path)
    seconds = {"train": 36_000.0, "sample": 7_200.0, "evaluate": 1_800.0}
    made = msgspec.structs.replace(record.provenance, gpu_hours=12.0, seconds=seconds)
    store.write(seal(msgspec.structs.replace(record, provenance=made)), path)
    page = (build("mini", roots).folder / "index.md").read_text(encoding="utf-8")
    assert "Of 1 record of an older shape the sum of all stages alone is known" in page
    assert "not noted" in page


def test_what_it_cost_counts_stages_on_a_processor_among_no_gpu_hours(roots: Roots, measure: Measure) -> None:
    names = ("guidance/w1.0", "guidance/w1.1")
    records = [store.read(measure(name, "mini", 20.0)) for name in names]
    seconds = {"train": 36_000.0, "sample": 7_200.0, "evaluate": 1_800.0}

    def on(device: str, gpu_hours: float) -> list[Record]:
        made = records[0].provenance
        made = msgspec.structs.replace(made, device=device, seconds=seconds, gpu_hours=gpu_hours)
        return [msgspec.structs.replace(record, provenance=made) for record in records]

    assert spent(on("cpu (8 cores)", 12.0)).total == 14.0, "one training of ten hours, two sets of samples of two"
    assert spent(on("NVIDIA H100", 0.5)).total == 1.0, "only the two evaluations had a GPU"


def test_hours_of_small_runs_keep_their_digits(roots: Roots, measure: Measure) -> None:
    path = measure("table1/E", "mini", 20.0)
    record = store.read(path)
    made = msgspec.structs.replace(record.provenance, gpu_hours=0.0234)
    store.write(seal(msgspec.structs.replace(record, provenance=made)), path)
    folder = build("mini", roots).folder
    assert '<td class="number">0.023</td>' in (folder / "rows" / "table1-E.html").read_text(encoding="utf-8")
    assert "Spent: 0.023 GPU-hours, " in (folder / "index.html").read_text(encoding="utf-8")
