"""Plans: stages, prices, states, shared runs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro import cost, jobs
from hdit_repro.errors import UserError
from hdit_repro.files import lock
from hdit_repro.launch import price
from hdit_repro.launch.clusters import Local, Slurm, clusters, read_cluster, workplace
from hdit_repro.launch.graph import required, stages_missed, tasks_for, unsettled
from hdit_repro.launch.plan import Stage, gpu_hours, make_plan, to_run, wanted
from hdit_repro.launch.progress import write_failure
from hdit_repro.launch.submit import refuse_what_cannot_be
from hdit_repro.records.layout import Roots, RunFolder


def plan_of(experiment: str, roots: Roots, cluster: str = "a100", scale: str = "paper", **more: object) -> list[Stage]:
    return make_plan(wanted(experiment, scale, **more), roots, read_cluster(cluster))  # type: ignore[arg-type]


def hours_of(plan: list[Stage]) -> dict[tuple[str, str], float]:
    return {(stage.run, stage.stage): stage.gpu_hours for stage in plan}


def test_yardsticks_are_the_jobs_that_they_name() -> None:
    for yardstick in (price.TABLE_1_E, price.FFHQ_1024):
        run = jobs.find(yardstick.job).run
        assert cost.count(run.model, run.data.resolution).macs == yardstick.macs
        assert run.training.samples_seen == yardstick.images
        assert run.training.precision == yardstick.precision
        assert price.yardstick(run) is yardstick


def test_row_e_takes_sixty_a100_hours_and_the_others_follow_their_macs(roots: Roots) -> None:
    hours = hours_of(plan_of("table1", roots))
    assert hours["table1/E", "train"] == pytest.approx(60.0)
    for row in ("R2", "R3", "R4"):
        assert hours[f"table1/{row}", "train"] / 60 == pytest.approx(3.4, abs=0.01)
    assert hours["table1/R1", "train"] / 60 == pytest.approx(6.8, abs=0.02), "in TF32, at half the peak"
    a_to_e = 32_169_394_176 / 31_369_003_008
    assert hours["table1/A", "train"] == pytest.approx(60 * a_to_e)


def test_sampling_is_priced_by_calls_of_the_network(roots: Roots) -> None:
    hours = hours_of(plan_of("table1", roots))
    assert hours["table1/E", "sample"] == pytest.approx(60 * 50_000 * 50 / (3 * 102_400_000))
    five_times_in_tf32 = hours["table1/R1", "sample"] / hours["table1/R2", "sample"]
    assert five_times_in_tf32 == pytest.approx(5.0 * 2, rel=1e-3)
    guided = hours_of(plan_of("guidance", roots))
    assert guided["guidance/w1.5", "sample"] == pytest.approx(2 * guided["guidance/w1.0", "sample"])
    assert jobs.find("guidance/w1.0").run.sampling.network_calls == 50
    assert jobs.find("guidance/w1.5").run.sampling.network_calls == 100


def test_the_printed_bills_are_met(roots: Roots) -> None:
    assert hours_of(plan_of("ffhq1024", roots))["ffhq1024", "train"] == pytest.approx(7680.0)
    h100 = hours_of(plan_of("imagenet256", roots, "h100"))["imagenet256", "train"]
    assert h100 == pytest.approx(1459, rel=0.005)


def test_stages_name_what_they_need(roots: Roots) -> None:
    plan = plan_of("table1", roots)
    assert [stage.stage for stage in plan] == ["train", "sample", "evaluate"] * 10 + ["render"]
    keys = {stage.key: place for place, stage in enumerate(plan)}
    assert len(keys) == len(plan)
    for place, stage in enumerate(plan):
        assert all(keys[key] < place for key in stage.after)
    assert [len(stage.after) for stage in plan[:3]] == [0, 1, 1]
    assert len(plan[-1].after) == 10
    assert all(stage.state == "missing" for stage in plan)
    assert all(stage.basis for stage in plan)
    assert plan[0].gpus == 4
    assert plan[1].gpus == 1


def test_rows_that_share_a_run_share_its_stages(roots: Roots) -> None:
    plan = plan_of("guidance", roots)
    kinds = [stage.stage for stage in plan]
    assert kinds.count("train") == 1
    assert kinds.count("sample") == kinds.count("evaluate") == 9
    assert len(plan[0].names) == 9
    both = make_plan([*wanted("table1", "paper", ["E"]), *wanted("table5", "paper")], roots, read_cluster("a100"))
    train = next(stage for stage in both if stage.run == "table1/E" and stage.stage == "train")
    assert train.names == ("table1/E", "table5/soft-min-snr")


def test_seeds_are_runs_of_their_own(roots: Roots) -> None:
    plan = plan_of("table1", roots, rows=["E"], seeds=3)
    trained = [stage for stage in plan if stage.stage == "train"]
    assert [stage.seed for stage in trained] == [0, 1, 2]
    assert len({stage.id for stage in trained}) == 3
    with pytest.raises(UserError, match="seed"):
        wanted("table1", "paper", seeds=0)


def test_states_are_read_from_disk(roots: Roots, made_up: ModuleType) -> None:
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(roots, job.run, "smoke")

    def states() -> list[str]:
        return [stage.state for stage in plan_of("table1/E", roots, "local", "smoke")][:3]

    assert states() == ["missing", "missing", "missing"]
    with lock(folder.lock("train")):
        assert states() == ["running", "missing", "missing"]
    write_failure(folder.failure("train"), "broke", "", "somebody")
    assert states() == ["failed", "missing", "missing"]
    made_up.leave_output(folder, "train")
    assert states() == ["done", "missing", "missing"]
    made_up.leave_output(folder, "sample")
    made_up.leave_output(folder, "evaluate")
    assert states() == ["done", "done", "done"]
    assert not (roots.runs / "submissions").exists()


def test_what_a_finished_row_no_longer_needs_is_not_made_again(roots: Roots, made_up: ModuleType) -> None:
    job = jobs.find("table1/E", "smoke")
    folder = RunFolder(roots, job.run, "smoke")
    made_up.leave_output(folder, "evaluate")
    assert stages_missed(folder) == ()
    tasks = tasks_for([job], roots)
    assert required(tasks) == []
    assert [stage.state for stage in plan_of("table1/E", roots, "local", "smoke")][:3] == ["done"] * 3
    # Another row that shares the checkpoint still needs it.
    guided = wanted("guidance", "smoke", ["w1.0", "w1.5"])
    made_up.leave_output(RunFolder(roots, guided[0].run, "smoke"), "evaluate")
    left = required(tasks_for(guided, roots))
    assert [task.stage for task in left] == ["train", "sample", "evaluate"]
    assert left[1].job.name == "guidance/w1.5"


def test_a_failure_holds_up_what_needs_it_and_nothing_else(roots: Roots) -> None:
    tasks = tasks_for(wanted("table1", "smoke", ["A", "E"]), roots)
    left = unsettled(tasks, lambda task: task.name == "table1/A" and task.stage == "train")
    assert [(task.name, task.stage) for task in left] == [
        ("table1/E", "train"), ("table1/E", "sample"), ("table1/E", "evaluate"),
    ]  # fmt: skip


def test_smoke_is_priced_in_minutes_of_a_cpu(roots: Roots) -> None:
    plan = plan_of("table1", roots, "local", "smoke")
    assert gpu_hours(plan) == 0
    assert all(stage.gpus == 0 for stage in plan)
    local = read_cluster("local")
    assert isinstance(local, Local)
    run = jobs.find("table1/E", "smoke").run
    macs = cost.count(run.model, run.data.resolution).macs * 3 * run.training.samples_seen
    train = next(stage for stage in plan if stage.run == "table1/E" and stage.stage == "train")
    assert train.hours * 3600 == pytest.approx(macs / local.cpu_macs_per_second)


def test_the_paper_is_refused_here_with_its_price(roots: Roots) -> None:
    asked = wanted("table1", "paper")
    local = read_cluster("local")
    plan = make_plan(asked, roots, local)
    with pytest.raises(UserError, match="too much for this machine") as refusal:
        refuse_what_cannot_be(asked, plan, local)
    assert f"{gpu_hours(to_run(plan)):,.0f} A100-hours" in str(refusal.value)
    assert "--scale smoke" in refusal.value.fix
    assert "--cluster a100" in refusal.value.fix
    assert f"`hdit-repro train --run {asked[0].name}`" in refusal.value.fix
    refuse_what_cannot_be(asked, plan, read_cluster("a100"))


@pytest.mark.parametrize(("rows", "words"), [(None, "table1"), (["E"], "table1/E"), (["A", "E"], "table1 --rows A,E")])
def test_the_advice_is_of_the_rows_that_were_asked_for(roots: Roots, rows: list[str] | None, words: str) -> None:
    asked, local = wanted("table1", "paper", rows), read_cluster("local")
    with pytest.raises(UserError) as refusal:
        refuse_what_cannot_be(asked, make_plan(asked, roots, local), local)
    assert f"`hdit-repro submit {words} --scale smoke --wait`" in refusal.value.fix
    assert f"`hdit-repro plan {words} --cluster a100`" in refusal.value.fix


@pytest.mark.parametrize(("seeds", "samplings"), [(99_999_999, 1), (1, 99_999_999), (100, 100)])
def test_a_plan_of_endlessly_many_seeds_is_refused(seeds: int, samplings: int) -> None:
    with pytest.raises(UserError, match="too many repetitions"):
        wanted("table1", "smoke", seeds=seeds, samplings=samplings)


def test_clusters_are_checked_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"local", "a100", "h100"} <= set(clusters())
    assert all(isinstance(read_cluster(name), Local | Slurm) for name in clusters())
    with pytest.raises(UserError, match="no cluster called 'a10'") as refusal:
        read_cluster("a10")
    assert "a100" in refusal.value.fix
    profiles = tmp_path / "jobs" / "clusters"
    profiles.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    whole = 'kind = "local"\ncpu_macs_per_second = 1e9\ncpu_features_per_second = 1.0\n'
    (profiles / "mine.toml").write_text(whole)
    assert read_cluster("mine") == Local(name="mine", cpu_macs_per_second=1e9, cpu_features_per_second=1.0)
    for wrong in (
        'kind = "lokal"',
        'kind = "local"\njobs = 3',
        f"{whole}threads = 0",
        f"{whole}threads = 2048",
        "no toml",
    ):
        (profiles / "mine.toml").write_text(wrong)
        with pytest.raises(UserError, match=r"profile is not understood|no TOML"):
            read_cluster("mine")


def test_a_profile_is_called_as_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "jobs" / "clusters"
    profiles.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (profiles / "mine.toml").write_text('kind = "local"\nname = "theirs"\n')
    with pytest.raises(UserError, match="called as its file is") as refusal:
        read_cluster("mine")
    assert "mine.toml:2: name = 'theirs'" in str(refusal.value)
    (profiles / "mine.toml").write_text('kind = "local"\njobs = 3\n')
    with pytest.raises(UserError, match="profile is not understood") as refusal:
        read_cluster("mine")
    assert str(refusal.value.expected).startswith("kind, jobs_at_once, ")


def test_workers_follow_the_machine() -> None:
    local = Local(name="x", cpu_macs_per_second=1.0, cpu_features_per_second=1.0, threads=4)
    assert [local.workers(cpus, 0) for cpus in (1, 4, 9)] == [1, 1, 2]
    assert local.workers(64, 2) == 2
    fixed = Local(name="x", cpu_macs_per_second=1.0, cpu_features_per_second=1.0, jobs_at_once=3)
    assert fixed.workers(64, 2) == 3


def test_the_workplace_is_the_checkout_or_the_folder(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[2]
    assert workplace(checkout / "tests" / "launch") == Roots(checkout / "runs", checkout / "results")
    assert workplace(tmp_path) == Roots(tmp_path.resolve() / "runs", tmp_path.resolve() / "results")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["HDIT_REPRO_WORKPLACE", "HDIT_REPRO_RUNS"])
def test_a_variable_that_names_no_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """`status` said that nothing was submitted, and `plan` that all was missing."""
    monkeypatch.setenv(variable, str(tmp_path / "a"))
    if variable == "HDIT_REPRO_WORKPLACE":
        with pytest.raises(UserError, match="is not there") as refusal:
            workplace()
        assert f"mkdir -p {tmp_path / 'a'}" in refusal.value.fix
        assert workplace(tmp_path).runs == tmp_path / "runs", "of a folder that is named outright it says nothing"
    else:
        assert workplace().runs == tmp_path / "a", "runs are to be made there"
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="a file") as refusal:
        workplace()
    assert variable in refusal.value.fix


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("time_limit_hours =", "time_limit =", ["'time_limit'", "did you mean 'time_limit_hours'"]),
        ("time_limit_hours = 24.0", 'time_limit_hours = "24:00:00"', ['time_limit_hours = "24:00:00"', "a number"]),
        ("setup = []", 'setup = "module load x"', ['fix       setup = ["module load x"]']),
        ("microbatch = 0", 'microbatch = "8"', ["training.microbatch", "microbatch = 8"]),
        ('gpu = "A100"', "gpu = 100", ["gpu = 100", "a text"]),
    ],
)
def test_a_wrong_profile_is_refused_with_its_line_and_what_was_meant(
    right: str, wrong: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clusters()["a100"].read_text(encoding="utf-8")
    profiles = tmp_path / "jobs" / "clusters"
    profiles.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (profiles / "mine.toml").write_text(whole.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(UserError, match="profile is not understood") as refusal:
        read_cluster("mine")
    line = 1 + whole[: whole.index(right)].count("\n")
    for part in (f"mine.toml:{line}", *told):
        assert part in str(refusal.value)
