"""From what is missing to units: arrays, shards, packs, what is queued already. No scheduler."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, write_json
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import required, tasks_for
from hdit_repro.launch.part import Part, drawn, ranges
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.slurm import attempts
from hdit_repro.launch.slurm.coverage import Coverage, cover, made
from hdit_repro.launch.slurm.graph import Group, graph
from hdit_repro.launch.slurm.journal import Damaged, Journal, Noted, Unit, journals, save, strays
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.queue import NEVER, Queued
from hdit_repro.records.layout import Roots


def cluster(**changes: Any) -> Slurm:
    found = read_cluster("a100")
    assert isinstance(found, Slurm)
    return msgspec.structs.replace(found, **changes)


def groups_of(
    roots: Roots,
    rows: list[str],
    profile: Slurm,
    scale: str = "paper",
    seeds: int = 1,
    covered: Coverage | None = None,
    experiment: str = "table1",
) -> list[Group]:
    jobs = wanted(experiment, scale, rows, seeds)
    left = required(tasks_for(jobs, roots))
    costs = {stage.key: stage for stage in make_plan(jobs, roots, profile)}
    return graph(left, costs, covered or Coverage(), profile)


def test_rows_train_as_one_array_and_each_samples_as_another(roots: Roots) -> None:
    found = groups_of(roots, ["R1", "A", "E"], cluster(shard_hours=0.1), seeds=2)
    kinds = [(group.kind, len(group.elements)) for group in found]
    assert [kind for kind, _ in kinds if kind == "train"] == ["train"] * 2, "R1 takes longer than A and E"
    assert sum(size for kind, size in kinds if kind == "train") == 6
    samples = [group for group in found if group.kind == "sample"]
    assert len(samples) == 6
    trained = {element.name for group in found if group.kind == "train" for element in group.elements}
    for group in samples:
        (before,) = group.after
        assert before in trained
        numbers = [number for element in group.elements for number in element.numbers or ()]
        assert numbers == list(range(50_000))
        assert all([task.stage for task in element.tasks] == ["sample", "evaluate"] for element in group.elements)
        assert all((element.numbers or range(0)).start % 64 == 0 for element in group.elements)
    assert not [kind for kind, _ in kinds if kind == "evaluate"], "the shard that ends last measures"


def test_training_takes_whole_nodes_and_as_many_time_outs_as_its_hours(roots: Roots) -> None:
    (train, *_) = groups_of(roots, ["E"], cluster(train_gpus=16))
    assert train.resources[:3] == (2, 8, 1)
    (short, *_) = groups_of(roots, ["E"], cluster(time_limit_hours=2.0))
    assert short.resources.minutes == 120
    assert short.resources.time_outs >= 15 / 2, "15 hours on 4 GPUs, in jobs of two"
    (one, *_) = groups_of(roots, ["E"], cluster())
    assert 15 * 60 <= one.resources.minutes <= 24 * 60


def test_half_as_much_again_as_planned_is_asked_for(roots: Roots) -> None:
    """Long jobs ask for quarters of a day, that rows of about one length share an array."""
    (train, *_) = groups_of(roots, ["E"], cluster(train_gpus=16, time_limit_hours=100.0))
    assert train.elements[0].hours == pytest.approx(60 / 16)
    assert train.resources.minutes == 6 * 60, "5.6 hours, in half hours"
    (train, *_) = groups_of(roots, ["E"], cluster(time_limit_hours=100.0))
    assert train.elements[0].hours == pytest.approx(15)
    assert train.resources.minutes == 24 * 60, "22.5 hours, in quarters of a day"


def test_shards_are_cut_at_multiples_of_the_batch_of_the_profile(roots: Roots) -> None:
    found = groups_of(roots, ["E"], cluster(shard_hours=1e-9, sample_batch=96, max_array_size=10_000))
    (sizes,) = ([len(e.numbers or ()) for e in group.elements] for group in found if group.kind == "sample")
    assert (set(sizes[:-1]), sizes[-1], len(sizes)) == ({96}, 50_000 % 96, 521)


def test_below_paper_scale_trainings_take_the_gpus_that_the_profile_says(roots: Roots) -> None:
    found = groups_of(roots, ["E"], cluster(train_gpus_below_paper=2, pack_hours=0.0), scale="mini")
    assert [group.resources.tasks for group in found if group.kind == "train"] == [2]
    found = groups_of(roots, ["E"], cluster(train_gpus=8, pack_hours=0.0), scale="mini")
    assert [group.resources.tasks for group in found if group.kind == "train"] == [1]


def test_arrays_are_split_at_the_cap(roots: Roots) -> None:
    found = groups_of(roots, ["E"], cluster(shard_hours=1e-9, max_array_size=300))
    sizes = [len(group.elements) for group in found if group.kind == "sample"]
    assert sizes == [300, 300, 182]
    assert len({group.after for group in found if group.kind == "sample"}) == 1


def test_small_rows_share_an_allocation(roots: Roots) -> None:
    (pack,) = groups_of(roots, ["R1", "A", "E"], cluster(), scale="mini")
    (element,) = pack.elements
    assert (pack.kind, element.resources[:3]) == ("pack", (1, 3, 1))
    assert len(element.tasks) == 9
    alone = groups_of(roots, ["R1", "A", "E"], cluster(pack_hours=0.0), scale="mini")
    assert "pack" not in {group.kind for group in alone}


def test_more_small_rows_than_an_allocation_has_time_for_share_several(roots: Roots) -> None:
    rows = ["R1", "R2", "A", "B1", "E"]
    plan = make_plan(wanted("table1", "mini", rows), roots, cluster())
    hours = [sum(stage.gpu_hours for stage in plan if stage.run == f"table1/{row}") for row in rows]
    found = groups_of(roots, rows, cluster(pack_hours=1.01 * max(hours), gpus_per_node=1), scale="mini")
    elements = [element for group in found for element in group.elements]
    assert {element.kind for element in elements} == {"pack"}
    assert len(elements) == math.ceil(sum(hours) / (1.01 * max(hours))) > 1
    assert sorted(task.name for element in elements for task in element.tasks) == sorted(
        f"table1/{row}" for row in rows for _ in range(3)
    )


def test_rows_that_share_a_checkpoint_train_it_once(roots: Roots) -> None:
    found = groups_of(roots, ["w1.0", "w1.5"], cluster(), experiment="guidance")
    assert (found[0].kind, len(found[0].elements)) == ("train", 1)
    assert len({group.after for group in found if group.kind == "sample"}) == 1


def test_what_is_queued_is_built_upon(roots: Roots) -> None:
    profile = cluster(shard_hours=0.1)
    job = wanted("table1", "paper", ["E"])
    train, sample, evaluate = tasks_for(job, roots)
    training = Unit(name="t", kind="train", gpus=4, hours=1, elements=(Noted(stages=(train.key,)),), job_id="7")
    trains = Journal(session="s", cluster="a100", request={}, code="c", state="whole", units=[training])
    queued = {"7": Queued("7", "RUNNING", "None", "t")}
    covered = cover([trains], queued, lambda *_: False)
    found = groups_of(roots, ["E"], profile, covered=covered)
    assert {group.kind for group in found} == {"sample"}
    assert found[0].after == ("7",)
    # Some shards are queued, some samples are drawn: the rest alone is new, and measures.
    noted = Noted(stages=(sample.key, evaluate.key), numbers=(0, 6400), after=("7",))
    shards = Unit(name="s", kind="sample", gpus=1, hours=1, elements=(noted,), begun=True, job_id="8")
    listed = {"file": "a.safetensors", "first": 6400, "count": 6400}
    write_json(sample.folder.manifest, {"shards": [listed, {"file": "gone", "first": 12_800, "count": 64}]})
    (sample.folder.samples / "a.safetensors").touch()
    queued["8"] = Queued("8", "PENDING", "Dependency", "s")
    both = msgspec.structs.replace(trains, units=[*trains.units, shards])
    covered = cover([both], queued, lambda *_: False)
    found = groups_of(roots, ["E"], profile, covered=covered)
    numbers = [number for group in found for element in group.elements for number in element.numbers or ()]
    assert numbers == list(range(12_800, 50_000))
    assert found[0].elements[0].tasks[-1].stage == "evaluate"
    # Shards that are queued do not measure: what does waits for them and for the new ones, which do not either.
    drawing = msgspec.structs.replace(shards, elements=(msgspec.structs.replace(noted, stages=(sample.key,)),))
    both = msgspec.structs.replace(trains, units=[*trains.units, drawing])
    *drawn, measuring = groups_of(roots, ["E"], profile, covered=cover([both], queued, lambda *_: False))
    new = [element for group in drawn for element in group.elements]
    assert {tuple(task.stage for task in element.tasks) for element in new} == {("sample",)}
    assert measuring.kind == "evaluate"
    assert measuring.after == ("8", *(element.name for element in new))


def test_what_a_pack_in_the_queue_will_draw_is_not_drawn_again(roots: Roots) -> None:
    jobs = wanted("table1", "mini", ["A", "E"])
    keys = tuple(task.key for task in tasks_for(jobs, roots))
    unit = Unit(name="p", kind="pack", gpus=2, hours=1, elements=(Noted(stages=keys),), job_id="7")
    packed = Journal(session="s", cluster="a100", request={}, code="c", state="whole", units=[unit])
    covered = cover([packed], {"7": Queued("7", "PENDING", "None", "p")}, lambda *_: False)
    assert groups_of(roots, ["A", "E"], cluster(), scale="mini", covered=covered) == []
    # A further metric of what it draws waits for it.
    measuring = keys[-1]
    others = msgspec.structs.replace(unit, elements=(Noted(stages=tuple(key for key in keys if key != measuring)),))
    covered = cover(
        [msgspec.structs.replace(packed, units=[others])],
        {"7": Queued("7", "PENDING", "None", "p")},
        lambda *_: False,
    )
    [group] = groups_of(roots, ["A", "E"], cluster(), scale="mini", covered=covered)
    assert (group.kind, group.elements[0].name, group.after) == ("evaluate", measuring, ("7",))


def test_a_job_that_waits_for_what_cannot_come_is_doomed() -> None:
    elements = [Noted(stages=("train-a",)), Noted(stages=("train-b",))]
    train = Unit(name="t", kind="train", gpus=1, hours=1, elements=tuple(elements), job_id="1")
    sample = Noted(stages=("sample-a", "evaluate-a"), numbers=(0, 8), after=("1_0",))
    other = Noted(stages=("sample-b",), numbers=(0, 8), after=("1_1",))
    units = [train] + [
        Unit(name=f"s{number}", kind="sample", gpus=1, hours=1, elements=(one,), job_id=str(number))
        for number, one in ((2, sample), (3, other))
    ]
    entry = Journal(session="s", cluster="c", request={}, code="c", units=units)
    queue = {"2": Queued("2", "PENDING", "Dependency", "s2"), "3": Queued("3", "PENDING", "Dependency", "s3")}
    made = {"train-b"}
    found = cover([entry], queue, lambda key, numbers: key in made)
    assert found.doomed == ["2"]
    assert set(found.elements) == {"sample-b"}
    queue["1_0"] = Queued("1_0", "PENDING", "BeginTime", "t")  # requeued, not gone
    assert cover([entry], queue, lambda key, numbers: key in made).doomed == []
    queue["1_0"] = Queued("1_0", "PENDING", NEVER, "t")
    assert set(cover([entry], queue, lambda key, numbers: key in made).doomed) == {"1_0", "2"}


def test_journals_come_back_and_strays_are_known_by_name(roots: Roots) -> None:
    units = [
        Unit(
            name="one", kind="train", gpus=4, hours=2.0, elements=(Noted(stages=("train-a",)),), begun=True, job_id="5"
        ),
        Unit(
            name="two",
            kind="sample",
            gpus=1,
            hours=2.0,
            elements=(Noted(stages=("s",), numbers=(0, 4)),) * 2,
            begun=True,
        ),
        Unit(name="three", kind="render", gpus=0, hours=0.0, elements=(Noted(stages=("render",)),)),
    ]
    entry = Journal(session="20260101", cluster="a100", request={"scale": "paper"}, code="abc", units=units)
    save(roots, entry)
    assert journals(roots) == [entry]
    assert set(strays(journals(roots))) == {"two"}
    units[1].job_id = "6"
    assert units[1].ids == ["6_0", "6_1"]
    assert units[0].ids == ["5"]
    (roots.runs / "submissions" / "20260101" / "journal.json").write_text("{")
    told: list[Exception] = []
    assert journals(roots, told.append) == []
    assert "Expecting property name" in str(told[0])
    with pytest.raises(Damaged):
        journals(roots)


@given(st.sets(st.integers(0, 200)), st.integers(1, 40))
def test_ranges_hold_each_number_once_and_cross_no_multiple(numbers: set[int], size: int) -> None:
    found = ranges(sorted(numbers), size)
    assert [number for part in found for number in part] == sorted(numbers)
    whole = range(min(numbers, default=0), max(numbers, default=-1) + 1)
    assert ranges(whole, size) == ranges(list(whole), size)
    assert all(part.start // size == (part.stop - 1) // size for part in found)


def test_a_range_of_samples_has_files_and_a_state_of_its_own(roots: Roots) -> None:
    task = tasks_for(wanted("table1", "smoke", ["E"]), roots)[1]
    part = Part(task.folder, "sample", range(8, 16))
    assert part.state == "missing"
    with lock(part.lock):
        assert part.state == "running"
        assert Part(task.folder, "sample", range(0, 8)).state == "missing"
        assert task.folder.state("sample") == "missing"
    shards = [{"file": name, "first": first, "count": 12} for name, first in (("a", 4), ("gone", 0))]
    write_json(task.folder.manifest, {"shards": shards, "complete": True})
    (task.folder.samples / "a").touch()
    assert drawn(task.folder) == set(range(4, 16))
    assert part.done()
    assert not Part(task.folder, "sample", range(0, 8)).done()


@pytest.fixture
def part(roots: Roots) -> Part:
    return Part(tasks_for(wanted("table1", "smoke", ["E"]), roots)[0].folder, "train")


def fail(part: Part, *reasons: str, session: str = "s") -> None:
    for why in reasons:
        attempts.begin(part, session, "1", 4, "it")
        attempts.end(part, why)


def test_three_failures_alike_are_enough_and_others_are_not(part: Part) -> None:
    fail(part, *["trouble"] * 3)
    for _ in range(2):  # a refusal is no attempt, and no reason
        with pytest.raises(RunError, match="it failed 3 times for the same reason") as refusal:
            attempts.begin(part, "s", "1", 4, "it")
        assert refusal.value.found == "trouble"
    assert len(attempts.read(part.attempts)) == 3
    fail(part, "trouble", "trouble", "preempted", "trouble", "trouble", "preempted", session="another submission")


def test_reasons_that_differ_in_numbers_are_one(part: Part) -> None:
    fail(part, *(f"out of memory: {free}.25 GiB free, process {free + 3900}, at 0x7f{free}a" for free in range(3)))
    with pytest.raises(RunError, match="3 times for the same reason"):
        attempts.begin(part, "s", "1", 4, "it")


def test_ten_failures_are_enough_whatever_their_reasons(part: Part) -> None:
    fail(part, *(f"trouble {chr(65 + number)}" for number in range(9)), "preempted", "trouble J")
    with pytest.raises(RunError, match="it failed 10 times and is not"):
        attempts.begin(part, "s", "1", 4, "it")
    fail(part, "trouble", session="another submission")


@pytest.mark.parametrize("why", attempts.GOES_ON)
def test_leaving_in_time_is_no_failure_however_often(part: Part, why: str) -> None:
    """A long training on a queue of short jobs; two failures before are forgiven, for it went on."""
    fail(part, "trouble", "trouble")
    for _ in range(2 * attempts.MOST_IN_ALL):
        attempts.begin(part, "s", "1", 4, "it")
        attempts.end(part, why)
    attempts.begin(part, "s", "1", 4, "it")


def test_being_killed_counts_only_where_nothing_was_gained(part: Part) -> None:
    def killed_at(done: int) -> None:
        write_json(part.progress, {"done": done, "total": 100, "time": 5.0})
        attempts.begin(part, "s", "1", 4, "it")

    for done in (*range(0, 200, 10), 200, 200, 200):
        killed_at(done)
    with pytest.raises(RunError, match="same reason"):
        killed_at(200)
    assert all(attempt.gpu_hours >= 0 for attempt in attempts.read(part.attempts))


def calls_of(work: Callable[[], object]) -> int:
    """Calls of functions in `work`, the same on every machine."""
    found = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def test_planning_takes_twice_as_long_for_twice_as_many_runs(roots: Roots) -> None:
    """A plan of a thousand runs would otherwise take minutes."""
    planning, drawing = [], []
    for seeds in (10, 20):
        jobs = wanted("table1", "paper", None, seeds)
        costs = {stage.key: stage for stage in make_plan(jobs, roots, cluster())}
        left = required(tasks_for(jobs, roots))
        found = graph(left, costs, Coverage(), cluster())
        assert sum(len(group.elements) for group in found if group.kind == "train") == 10 * seeds
        planning.append(calls_of(lambda jobs=jobs: make_plan(jobs, roots, cluster())))
        drawing.append(calls_of(lambda left=left, costs=costs: graph(left, costs, Coverage(), cluster())))
    for few, many in (planning, drawing):
        assert 1.5 * few < many < 2.5 * few


def test_the_profile_of_a_site_is_found_beside_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hdit_repro.launch.clusters import workplace

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path / "big"))
    assert workplace(cluster=cluster(runs="$SCRATCH/runs")).runs == tmp_path / "big" / "runs"
    with pytest.raises(UserError, match="variable that is not set") as refusal:
        workplace(cluster=cluster(runs="$UNSET_ANYWHERE/runs"))
    assert refusal.value.found == "$UNSET_ANYWHERE/runs"
    monkeypatch.setenv("HDIT_REPRO_WORKPLACE", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    assert workplace() == Roots(tmp_path / "work" / "runs", tmp_path / "work" / "results")
    monkeypatch.setenv("HDIT_REPRO_RUNS", str(tmp_path / "else"))
    assert workplace() == Roots(tmp_path / "else", tmp_path / "work" / "results")
    monkeypatch.setenv("HDIT_REPRO_RUNS", "~nobody-of-that-name/runs")
    with pytest.raises(UserError, match="a home that the system does not know"):
        workplace()


def test_a_stage_is_made_by_its_output_or_the_samples_asked_of_it(roots: Roots) -> None:
    """What waits for a training that ended without its output would wait for ever."""
    tasks = tasks_for(wanted("table1", "smoke", ["E"]), roots)
    train, sample = (next(task for task in tasks if task.stage == stage) for stage in ("train", "sample"))
    answer = made(tasks, lambda task: task is sample)
    assert not answer(train.key, None)
    assert not answer(train.key, (0, 4))
    assert answer(sample.key, None)
    assert answer(sample.key, (0, 4))
    assert answer("train-of-another-experiment", None)
