"""What the rest of a stage costs, by the checkpoints and samples that are there."""

from __future__ import annotations

import pytest

from hdit_repro import jobs
from hdit_repro.cli.plan import print_plan
from hdit_repro.files import lock, write_json
from hdit_repro.launch import left
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, to_run, wanted
from hdit_repro.records.layout import Roots, RunFolder


def stages(roots: Roots, name: str = "table1/E", scale: str = "mini") -> list[Stage]:
    return make_plan(wanted(name, scale), roots, read_cluster("a100"))


def save(folder: RunFolder, step: int, whole: bool = True) -> None:
    write_json(folder.checkpoints / f"step-{step:08d}.json", {})
    if whole:
        (folder.checkpoints / f"step-{step:08d}.safetensors").touch()


def draw(folder: RunFolder, *spans: range) -> None:
    shards = [{"file": f"{span.start}.safetensors", "first": span.start, "count": len(span)} for span in spans]
    write_json(folder.manifest, {"shards": shards})
    for shard in shards:
        (folder.samples / str(shard["file"])).touch()


def test_a_training_costs_what_lies_behind_its_newest_checkpoint(roots: Roots) -> None:
    run = jobs.find("table1/E", "mini").run
    folder = RunFolder(roots, run, "mini")
    before = stages(roots)
    assert before[0].left == 1
    save(folder, 600)
    save(folder, 1_800, whole=False)
    (folder.checkpoints / "ema-00002000.json").touch()
    train = stages(roots)[0]
    assert train.left == pytest.approx(1 - 600 / run.training.total_steps)
    assert train.gpu_hours == before[0].gpu_hours, "the whole stage's"
    assert gpu_hours([train]) == train.gpu_hours_left == pytest.approx(0.75 * train.gpu_hours)
    assert train.as_row()["left"] == 0.75
    assert train.disk_left == train.disk
    save(folder, run.training.total_steps)
    assert 0 < stages(roots)[0].left < 1e-3, "not done, for nothing says so"


def test_steps_of_a_growing_batch_are_counted_in_images(roots: Roots) -> None:
    run = jobs.find("imagenet256").run
    first = run.training.spans[0]
    save(RunFolder(roots, run, "paper"), first.steps)
    left = stages(roots, "imagenet256", "paper")[0].left
    assert left == pytest.approx(1 - first.steps * first.batch / run.training.samples_seen)
    assert left > 1 - first.steps / run.training.total_steps


def test_sampling_costs_what_no_shard_holds(roots: Roots) -> None:
    run = jobs.find("table1/E", "mini").run
    count = run.sampling.count
    draw(RunFolder(roots, run, "mini"), range(64), range(128, count))
    sample = stages(roots)[1]
    assert sample.left == pytest.approx(64 / count)
    assert sample.disk_left == round(sample.disk * 64 / count)


def test_what_is_left_is_counted_over_the_drawn_and_not_over_the_wanted(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of a hundred seeds looks at hundreds of samplings of 50,000, of which few have begun."""

    class Unwalked:
        def __init__(self, stop: int) -> None:
            self._span = range(stop)

        def __len__(self) -> int:
            return len(self._span)

        def __contains__(self, number: int) -> bool:
            return number in self._span

    monkeypatch.setattr(left, "range", Unwalked, raising=False)
    run = jobs.find("table1/E", "mini").run
    draw(RunFolder(roots, run, "mini"), range(run.sampling.count - 100, run.sampling.count + 100))
    assert stages(roots)[1].left == pytest.approx(1 - 100 / run.sampling.count)


def test_the_plan_says_how_much_is_there_and_adds_up_the_rest(roots: Roots, capsys: pytest.CaptureFixture[str]) -> None:
    run = jobs.find("table1/E", "paper").run
    save(RunFolder(roots, run, "paper"), 399_000)
    plan = stages(roots, "table1/E", "paper")
    print_plan(plan, read_cluster("a100"))
    said = capsys.readouterr()
    assert "missing, 99 % there" in said.out
    rest = 60 / 400 + sum(stage.gpu_hours for stage in plan[1:])
    assert f"to go: {rest:,.1f} A100-hours" in said.err
    assert to_run(plan)[0].hours_left == pytest.approx(15 / 400)


def test_a_range_that_is_being_drawn_runs(roots: Roots) -> None:
    run = jobs.find("table1/E", "mini").run
    folder = RunFolder(roots, run, "mini")
    draw(folder, range(64))
    with lock(Part(folder, "sample", range(64, 128)).lock):
        assert [stage.state for stage in stages(roots)[:3]] == ["missing", "running", "missing"]
    assert stages(roots)[1].state == "missing"
