"""What jobs of a cluster are billed for: packs that idle, shards of sampling, stages that are half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro.cli.app import main
from hdit_repro.files import write_json
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import required, tasks_for
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, wanted
from hdit_repro.launch.slurm.bill import held, idle
from hdit_repro.launch.slurm.coverage import Coverage
from hdit_repro.launch.slurm.graph import Element, graph
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots, RunFolder


def sent(roots: Roots, rows: list[str], scale: str, **changes: Any) -> tuple[list[Element], dict[str, Stage]]:
    found = read_cluster("a100")
    assert isinstance(found, Slurm)
    profile, jobs = msgspec.structs.replace(found, **changes), wanted("table1", scale, rows)
    costs = {stage.key: stage for stage in make_plan(jobs, roots, profile)}
    groups = graph(required(tasks_for(jobs, roots)), costs, Coverage(), profile)
    return [element for group in groups for element in group.elements], costs


def test_a_pack_is_billed_until_its_last_row_is_done(roots: Roots) -> None:
    (pack,), costs = sent(roots, ["R2", "A", "E"], "mini")
    assert (pack.kind, pack.resources.all_gpus) == ("pack", 3)
    rows = [sum(costs[task.key].gpu_hours for task in pack.tasks if task.job.row == row) for row in ("R2", "A", "E")]
    assert max(rows) > 2 * min(rows)
    assert held([pack], costs) == pytest.approx(3 * max(rows))
    assert idle([pack], costs) == pytest.approx(3 * max(rows) - sum(rows))
    alone, costs = sent(roots, ["R2", "A", "E"], "mini", pack_hours=0.0)
    assert idle(alone, costs) == 0
    assert held(alone, costs) == pytest.approx(sum(rows))


def test_shards_are_billed_for_what_they_draw_and_measure_once(roots: Roots) -> None:
    elements, costs = sent(roots, ["E"], "paper", shard_hours=0.1)
    assert len(elements) > 3
    assert held(elements, costs) == pytest.approx(gpu_hours(costs.values()))
    (job,) = wanted("table1", "paper", ["E"])
    folder = RunFolder(roots, job.run, "paper")
    for file in (folder.checkpoints / "step-00300000.safetensors", folder.samples / "all-but-16.safetensors"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    write_json(folder.checkpoints / "step-00300000.json", {})
    write_json(folder.manifest, {"shards": [{"file": "all-but-16.safetensors", "first": 0, "count": 49_984}]})
    elements, costs = sent(roots, ["E"], "paper", shard_hours=0.1)
    train, sample, evaluate, _ = costs.values()
    rest = 60 / 4 + sample.gpu_hours * 16 / 50_000 + evaluate.gpu_hours
    assert held(elements, costs) == pytest.approx(rest) == gpu_hours(costs.values())
    assert train.left == 0.25


def test_the_plan_says_what_packs_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HDIT_REPRO_WORKPLACE", str(tmp_path))
    monkeypatch.setenv("HDIT_REPRO_RUNS", str(tmp_path / "runs"))
    (pack,), costs = sent(Roots(tmp_path / "runs", tmp_path / "results"), ["R2", "A"], "mini")
    assert main(["plan", "table1", "--rows", "R2,A", "--scale", "mini", "--cluster", "a100"]) == 0
    said = capsys.readouterr().err
    assert f"to go: {held([pack], costs):,.1f} A100-hours" in said
    assert f"packs: {idle([pack], costs):,.2f} A100-hours of these" in said
