"""The page of a row: values, verdicts, signatures, curves and samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from hdit_repro.records import signoff, store
from hdit_repro.records.layout import Roots
from hdit_repro.records.schema import Metric, seal
from hdit_repro.render.report import build

Measure = Callable[..., Path]


def test_trainings_of_a_row_are_counted_apart_from_its_records(roots: Roots, measure: Measure) -> None:
    for seed, sampling in ((0, 0), (0, 1), (2, 0)):
        measure("table1/E", "smoke", 180.0 + seed + sampling, seed=seed, sampling_seed=sampling)
    page = (build("smoke", roots).folder / "rows" / "table1-E.html").read_text(encoding="utf-8")
    assert "<li>Trainings measured: 2. Records: 3.</li>" in page


def test_a_verdict_on_one_run_is_said_once_with_all_its_places(roots: Roots, measure: Measure) -> None:
    measure("table1/E", "paper", 27.0)
    page = (build("paper", roots).folder / "rows" / "table1-E.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "printed 27.74" in line]
    for place in ("Table 1, E, FID", "Table 2", "Table 5", "Table 5 of the second edition"):
        assert place in line
    assert line.count("inconclusive") == 1
    assert "ours is −2.7 % from print" in line


def test_small_values_keep_their_digits(roots: Roots, measure: Measure) -> None:
    path = measure("guidance/w1.3", "smoke", 181.0)
    record = store.read(path)
    small = Metric(value=0.00123, low=0.00101, high=0.00148, interval="made up")
    store.write(
        seal(msgspec.structs.replace(record, metrics={**record.metrics, "recall-efficientnet-lite0": small})), path
    )
    shown = (build("smoke", roots).folder / "rows" / "guidance-w1.3.html").read_text(encoding="utf-8")
    assert '<td class="number">0.00123</td>' in shown
    assert "0.00123 [0.00101, 0.00148]" in shown
    assert ">181.000<" in shown


def test_signatures_are_shown_and_doubted(roots: Roots, measure: Measure) -> None:
    one, two = (measure("table1/E", "smoke", 181.0 + seed, seed=seed) for seed in range(2))
    signoff.sign(one, "Ada")
    signoff.sign(two, "Bob")
    measure("table1/E", "smoke", 99.0, seed=1)
    made = build("smoke", roots)
    page = (made.folder / "rows" / "table1-E.html").read_text(encoding="utf-8")
    assert "<td>Ada</td>" in page
    assert "changed after Bob signed" in page
    assert "changed after Bob signed it" in (made.folder / "index.html").read_text(encoding="utf-8")


def test_a_page_says_how_many_of_many_trainings_it_shows(roots: Roots, measure: Measure, remains) -> None:
    for seed in range(10):
        measure("table1/E", "smoke", 181.0 + seed, seed=seed)
        remains(roots, "table1/E", "smoke", seed)
    for seed in range(2):
        measure("table1/D", "smoke", 181.0 + seed, seed=seed)
        remains(roots, "table1/D", "smoke", seed)
    rows = build("smoke", roots).folder / "rows"
    many, few = ((rows / f"table1-{name}.md").read_text(encoding="utf-8") for name in "ED")
    assert "6,400 images of emoji seen" in many
    assert "The first images of 8 of 10 samplings, numbers from 0" in many
    assert "Training loss of 8 of 10 trainings, each point" in many
    assert "The first images of each sampling, numbers from 0" in few
    assert "Training loss, each point" in few
