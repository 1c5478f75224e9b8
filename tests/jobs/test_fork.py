"""The jobs against the configurations in the third author's fork, value by value, and against its one exact count."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.cost import count

FORK = json.loads((Path(__file__).parents[1] / "reference" / "fork" / "configurations.json").read_text())
DIT = "model.(?!kind|time|learn_sigma|channels|resolution)"
OTHERWISE = {
    (
        "table1/R2",
        "training.optimizer.learning_rate",
    ): "footnote 3 prints DiT's, which the fork has yet to try",
    ("table1/R2", "training.optimizer.betas"): "footnote 3",
    ("table1/R2", "training.optimizer.weight_decay"): "footnote 3",
    ("edition2/G", "model.gate.kind"): "the second edition names the gate from H on; alternatives/G-gate has it",
}


def wanted(row: dict[str, Any]) -> dict[str, Any]:
    shared = {
        key: value
        for key, value in FORK["shared"].items()
        if not (row.get("model.kind") == "dit" and (key == "d_ffs" or re.match(DIT, key)))
    }
    facts = {key: value for key, value in row.items() if key not in ("row", "path", "parameters", "gmacs")}
    return {**shared, **facts}


def value(run: Any, field: str) -> Any:
    """A run's own value of a field, in the types of JSON."""
    if field == "d_ffs":
        return [level.d_ff for level in run.model.levels]
    found = json.loads(msgspec.json.encode(run))
    for part in field.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("row", FORK["rows"], ids=lambda row: f"{row['row']} {Path(row['path']).stem}")
def test_a_row_is_its_configuration(row: dict[str, Any]) -> None:
    run = jobs.find(row["row"]).run
    differs = {field for field, fact in wanted(row).items() if value(run, field) != fact}
    assert differs == {field for name, field in OTHERWISE if name == row["row"]}


def test_ffhqs_count_is_to_the_digit_what_its_remark_says() -> None:
    row = next(row for row in FORK["rows"] if "parameters" in row)
    model = jobs.find(row["row"]).run.model
    cost = count(model, model.resolution)
    assert cost.parameters == row["parameters"]
    assert round(cost.macs / 1e9, 3) == row["gmacs"]


def test_every_file_that_a_value_rests_on_is_one_that_was_read() -> None:
    read = {row["path"] for row in FORK["rows"]}
    cited = {
        path
        for job in jobs.all_jobs()
        for source in job.sources.values()
        if source.startswith("fork:")
        for path in re.findall(r"configs/[\w./]+?\.jsonc", source)
    }
    assert cited
    assert cited <= read
