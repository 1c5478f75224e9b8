"""What a job does when its stage fails or is asked to leave. No scheduler: `scontrol` is a line of shell."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any

import pytest

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, write_json
from hdit_repro.launch import progress
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import Task, tasks_for
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import LEFT, Writer, read_failure, read_progress
from hdit_repro.launch.slurm import attempts, pack, probe, ranks
from hdit_repro.launch.slurm import job as jobs
from hdit_repro.launch.slurm.check import problems
from hdit_repro.launch.slurm.job import StageJob
from hdit_repro.launch.slurm.probe import ProbeJob
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages.settings import Settings
from hdit_repro.training.rendezvous import Lost
from hdit_repro.training.signals import Preempted


class Site:
    """A job's surroundings: its ids, `scontrol`, and a wait for the scheduler that takes no time."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._told, self._patch = folder / "told", patch
        folder.mkdir()
        (folder / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {quote(str(self._told))}\n')
        (folder / "scontrol").chmod(0o755)
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        for wait in ("GRACE", "MOMENTS", "PAUSE"):
            patch.setattr(jobs, wait, 0.0)
        self.rank(0, 1)

    def rank(self, rank: int, size: int) -> None:
        """Be this one of the job's processes."""
        named = {"PROCID": rank, "NTASKS": size, "LOCALID": rank, "JOB_ID": 77, "JOB_NODELIST": "localhost"}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            self._patch.setenv(name, "1")  # the job sets them anew where it is one of several
        for name, value in named.items():
            self._patch.setenv(f"SLURM_{name}", str(value))

    @property
    def requeues(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return Site(tmp_path / "bin", monkeypatch)


@pytest.fixture
def training(roots: Roots) -> Task:
    return tasks_for(wanted("table1", "smoke", ["E"]), roots)[0]


def run(task: Task, function: Callable[..., Any], gpus: int = 1) -> None:
    StageJob((task,), "s", Settings(), gpus, stages=dict.fromkeys(("train", "sample", "evaluate"), function))()


def failing(*errors: Exception) -> Callable[..., Any]:
    left = list(errors)

    def stage(*_: Any) -> None:
        raise left.pop(0)

    return stage


def test_a_log_has_an_error_of_the_projects_in_its_own_words(site: Site, training: Task) -> None:
    errors = [UserError("a wrong request", found="this", fix="ask for that"), RuntimeError("trouble")]
    for error in errors:
        with pytest.raises(type(error)):
            run(training, failing(error))
    own, other = training.folder.log("train").read_text().split("== ")[1:]
    assert own.split("\n", 1)[1] == f"error: {errors[0]}\n"
    assert "Traceback" in other


def test_a_failure_whose_message_has_changing_numbers_is_requeued_twice(site: Site, training: Task) -> None:
    stage = failing(*(RuntimeError(f"out of memory: {free} MiB free, process {3900 + free}") for free in range(9)))
    for start in range(5):
        with pytest.raises((RuntimeError, RunError), match="out of memory" if start < 3 else "is not tried again"):
            run(training, stage)
    assert site.requeues == ["requeue 77"] * 2


def test_a_stage_that_is_not_tried_again_neither_runs_nor_requeues(site: Site, training: Task) -> None:
    part, ran = Part(training.folder, "train"), []
    for _ in range(3):
        attempts.begin(part, "s", "77", 1, "it")  # each killed without a word
    for _ in range(3):
        with pytest.raises(RunError, match="is not tried again"):
            run(training, lambda *_: ran.append(1))
    assert (ran, site.requeues) == ([], [])
    assert "is not tried again" in read_failure(part.failure)["error"]
    assert len(attempts.read(part.attempts)) == 3


def test_without_scontrol_the_real_error_stays(
    site: Site, training: Task, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RuntimeError, match="trouble"):
        run(training, failing(RuntimeError("trouble")))
    jobs.requeue()
    assert "not requeued: [Errno 2]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ping", "tries", "said"), [("rm $0.away; exit 1", 3, "requeued 77"), ("exit 0", 2, "not requeued: no, 77")]
)
def test_a_controller_that_does_not_answer_is_waited_for_and_a_refusal_is_not(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], ping: str, tries: int, said: str
) -> None:
    """A job that fails, or whose time ends, while slurmctld is started again came back no more."""
    scontrol, calls = tmp_path / "bin" / "scontrol", tmp_path / "calls"
    refusal = '[ -e "$0.away" ] && { echo "no, $2" >&2; exit 1; }'
    twice = ping.replace("rm $0.away", '[ -e "$0.once" ] && rm "$0.away"; touch "$0.once"')
    scontrol.write_text(
        f'#!/bin/sh\n[ "$1" = ping ] && {{ {twice}; }}\necho "$*" >> {quote(str(calls))}\n{refusal}\ntrue\n'
    )
    scontrol.with_name("scontrol.away").touch()
    jobs.requeue()
    assert calls.read_text().splitlines() == ["requeue 77"] * tries
    assert capsys.readouterr().err.splitlines() == [said]


def test_a_training_that_leaves_is_requeued_by_submitit_and_says_so_where_it_cannot_be(
    site: Site, training: Task, handler: list[int]
) -> None:
    def leaving(*_: Any) -> None:
        error = Preempted("the run was asked to leave and is saved", found="USR2", fix="again")
        error.signum = signal.SIGUSR2
        raise error

    for _ in range(2):
        with pytest.raises(Preempted, match="is saved"):
            run(training, leaving)
    assert handler == [signal.SIGUSR2] * 2
    assert site.requeues == ["requeue 77"], "where submitit could not"
    assert not Part(training.folder, "train").failure.exists()


def test_a_training_that_a_stop_file_asked_to_leave_comes_back_by_nobody(
    site: Site, training: Task, handler: list[int], roots: Roots
) -> None:
    tasks = tasks_for(wanted("table1", "smoke", ["E"]), roots)
    ran: list[str] = []

    def leaving(_: object, folder: RunFolder, *__: object) -> None:
        ran.append("train")
        raise Preempted("the run was asked to leave and is saved", found=f"{folder.path / 'stop'}", fix="again")

    later = dict.fromkeys(("sample", "evaluate"), lambda *_: ran.append("more"))
    with pytest.raises(Preempted, match="is saved"):
        StageJob(tuple(tasks), "s", Settings(), 1, stages={"train": leaving, **later})()
    assert (handler, site.requeues, ran) == ([], [], ["train"])
    assert read_progress(Part(training.folder, "train").progress).note == LEFT


@pytest.mark.parametrize(
    ("error", "requeues"), [(OSError(errno.EIO, "Input/output error"), 1), (UserError("a wrong request"), 0)]
)
def test_of_several_processes_the_one_that_failed_says_why(
    site: Site, training: Task, error: Exception, requeues: int
) -> None:
    gone = Lost("another process of the run is gone")
    site.rank(2, 3)
    with pytest.raises(Lost):
        run(training, failing(gone))  # it has lost process 1 as the first has, and knows no more
    site.rank(1, 3)
    with pytest.raises(type(error)):
        run(training, failing(error))
    part = Part(training.folder, "train")
    assert str(error) in read_failure(part.failure)["error"], "the first may be killed before it can say so"
    site.rank(0, 3)
    with pytest.raises(type(error)):
        run(training, failing(gone))
    assert str(error) in read_failure(part.failure)["error"]
    assert [attempt.why for attempt in attempts.read(part.attempts)] == [str(error)]
    assert len(site.requeues) == requeues
    with pytest.raises(Lost):
        run(training, failing(gone))  # the next start knows nothing of it
    assert not [*part.failure.parent.glob("*.pickle")]


@pytest.mark.parametrize(
    ("error", "requeues"), [(OSError(errno.EIO, "Input/output error"), 1), (UserError("a wrong request"), 0)]
)
def test_a_process_that_fails_requeues_the_job_where_the_first_does_not_hear_of_it(
    site: Site, training: Task, error: Exception, requeues: int
) -> None:
    """On cards of one node the first waits for a sum that never comes; srun ends it with the one that failed."""
    part = Part(training.folder, "train")
    attempts.begin(part, "s", "77", 3, "it")
    for rank in (1, 2):
        site.rank(rank, 3)
        with pytest.raises(type(error)):
            run(training, failing(error))
    assert [attempt.why for attempt in attempts.read(part.attempts)] == [str(error)]
    assert site.requeues == ["requeue 77"] * requeues


def test_a_process_that_fails_leaves_it_to_the_first_where_that_hears_of_it(
    site: Site, training: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(training.folder, "train")
    attempts.begin(part, "s", "77", 3, "it")
    site.rank(1, 3)
    monkeypatch.setattr(jobs, "MOMENTS", 60.0)
    monkeypatch.setattr(jobs.time, "sleep", lambda _: attempts.end(part, "told"))
    with pytest.raises(OSError, match="spoilt"):
        run(training, failing(OSError("spoilt")))
    assert [attempt.why for attempt in attempts.read(part.attempts)] == ["told"]
    assert site.requeues == []


def test_an_error_that_cannot_be_pickled_is_told_in_words(training: Task) -> None:
    class Odd(Exception):
        pass

    part = Part(training.folder, "train")
    ranks.leave(part, "77", 1, Odd("of a library"))
    assert "Odd in process 1: of a library" in str(ranks.cause(part, "77", 0.0))


@pytest.fixture
def handler() -> Iterator[list[int]]:
    """What submitit's handler of USR2 was called with; from its second call on there is no scontrol."""
    calls: list[int] = []

    def requeue(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) > 1:
            raise FileNotFoundError(2, "No such file or directory", "scontrol")

    before = signal.signal(signal.SIGUSR2, requeue)
    yield calls
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ("requeues", "n1 find no scontrol"), ("sees_lock", "n1 sees no lock that this machine holds"),
        ("sees_runs", "n1 does not see the folder of runs"),
        ("writes_cache", "n1 cannot write /home/me/.cache, where statistics of references are kept"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_node_is_told(fact: str, words: str) -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    node = {
        "node": "n1", "sees_runs": True, "sees_lock": True, "requeues": True, "gpus": ["A100"], "torch_gpus": 1,
        "write_mb_per_second": 9.0, "cache": "/home/me/.cache", "writes_cache": True, "data": "", "time": time.time(),
    }  # fmt: skip
    assert problems(node, profile, time.time()) == []
    (problem,) = problems({**node, fact: False}, profile, time.time())
    assert words in problem


def test_a_node_says_whether_it_sees_the_submitters_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WRITE_BYTES", 1 << 20)
    job = ProbeJob(tmp_path, "t")
    with lock(tmp_path / probe.HELD):
        assert job()["sees_lock"]
    assert not job()["sees_lock"]
    monkeypatch.setattr(probe, "is_locked", failing(OSError(errno.ENOLCK, "No locks available")))
    assert not job()["sees_lock"]


def test_a_node_says_whether_it_can_write_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WRITE_BYTES", 1 << 20)
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    assert ProbeJob(tmp_path, "t")()["writes_cache"]
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "file" / "cache"))
    assert not ProbeJob(tmp_path, "t")()["writes_cache"]


def test_who_waits_for_a_stage_that_another_runs_is_no_attempt(site: Site, training: Task, made_up: ModuleType) -> None:
    """The shards of a row may all come to its evaluation; one measures, the others find it done."""
    part = Part(training.folder, "train")
    with lock(part.lock):
        attempts.begin(part, "s", "76", 1, "it")
        waiting = threading.Thread(target=run, args=(training, lambda *_: pytest.fail("it is done")))
        waiting.start()
        time.sleep(0.1)
        assert [attempt.why for attempt in attempts.read(part.attempts)] == [""]
        made_up.leave_output(training.folder, "train")
        attempts.end(part, "done")
    waiting.join()
    assert [(attempt.job, attempt.why) for attempt in attempts.read(part.attempts)] == [("76", "done")]
    assert site.requeues == []


def test_a_stage_without_output_is_a_failed_attempt(site: Site, training: Task) -> None:
    for _ in range(5):
        with pytest.raises(RunError):
            run(training, lambda *_: None)
    assert site.requeues == ["requeue 77"] * 2


def test_how_far_an_attempt_began_is_how_far_the_one_before_came(site: Site, training: Task) -> None:
    part = Part(training.folder, "train")
    for done in (10, 20):
        write_json(part.progress, {"done": done, "total": 100, "time": 5.0})
        with pytest.raises(RunError):
            run(training, lambda *_: None)
    assert [attempt.at for attempt in attempts.read(part.attempts)] == [10, 20]


def test_what_a_worker_of_a_pack_was_killed_in_has_failed_and_holds_up_no_other_row(
    site: Site, roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MOMENTS", 0.0)
    tasks = tuple(tasks_for(wanted("table1", "smoke", ["A", "D", "E"]), roots))
    parts = {(task.name, task.stage): Part(task.folder, task.stage) for task in tasks}
    killed, before = parts["table1/A", "train"], parts["table1/D", "train"]
    for part, start in ((killed, 2), (before, 1)):  # an earlier start of the job may have lost its node
        attempts.begin(part, "s", "77", 1, "it")
        Writer(part.progress, f"s/77.{start}.0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    site.rank(1, 2)
    StageJob(tasks, "s", Settings(), 2, packed=True, stages=made_up.STAGES)()
    assert not [key for key in parts if key[0] != "table1/A" and not parts[key].done()]
    assert "ended without a word: killed" in read_failure(killed.failure)["error"]
    assert [attempt.why for attempt in attempts.read(killed.attempts)] == [attempts.SILENT]
    assert [attempt.why for attempt in attempts.read(before.attempts)] == [attempts.SILENT, "done"]
    assert not parts["table1/A", "sample"].failure.exists()


def test_a_worker_of_a_pack_takes_up_what_another_was_asked_to_leave(
    site: Site, roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tuple(tasks_for(wanted("table1", "smoke", ["A"]), roots))
    part = Part(tasks[0].folder, "train")
    attempts.begin(part, "s", "77", 1, "it")
    Writer(part.progress, "s/77.0.0")
    attempts.end(part, "preempted")
    site.rank(1, 2)
    StageJob(tasks, "s", Settings(), 2, packed=True, stages=made_up.STAGES)()
    assert [attempt.why for attempt in attempts.read(part.attempts)] == ["preempted", "done"]


def test_a_process_whose_note_the_disk_refuses_tells_what_failed(
    site: Site, training: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise RunError(f"no space left to write {path.name}")

    monkeypatch.setattr(progress, "write_json", full)
    monkeypatch.setattr(ranks, "write_bytes", full)
    site.rank(1, 2)
    with pytest.raises(ZeroDivisionError):
        run(training, lambda *_: 1 / 0, gpus=2)
