"""Submission to processes of this machine through submitit, with made-up stages: sharing, failing, killing."""

from __future__ import annotations

import errno
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro import jobs
from hdit_repro.cli.app import main
from hdit_repro.errors import RunError
from hdit_repro.files import is_locked, read_json
from hdit_repro.launch.clusters import Local
from hdit_repro.launch.crew import Crew, signals_of_workers
from hdit_repro.launch.follow import Plain
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.job import StageChain
from hdit_repro.launch.plan import make_plan, to_run, wanted
from hdit_repro.launch.status import known_tasks, status_of
from hdit_repro.launch.submit import Submission, submit
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.stages.settings import Settings
from hdit_repro.training.signals import Preempted

SUBMITTER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from made_up_stages import STAGES
from hdit_repro.launch.clusters import Local
from hdit_repro.launch.follow import Plain
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.submit import Submission, submit
from hdit_repro.records.layout import Roots

if __name__ == "__main__":
    here, rows, *render = Path(sys.argv[1]), sys.argv[2].split(","), *sys.argv[3:]
    cluster = Local(name="local", jobs_at_once=2, cpu_macs_per_second=1e10, cpu_features_per_second=10.0)
    done = submit(wanted("table1", "smoke", rows), Roots(here / "runs", here / "results"), cluster, stages=STAGES,
                  display=None if render else Plain(sys.stderr), render=tuple(render) or None)
    print(len(done.failures), *done.job_ids)
"""


def hears_interrupts() -> None:
    """In a process about to start: tests that run behind nohup or in a script's background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def submitter(tmp_path: Path, made_up: ModuleType) -> list[str]:
    """A command that submits as another process: the workplace and the rows are its arguments."""
    script = tmp_path / "submitter.py"
    script.write_text(SUBMITTER)
    return [sys.executable, str(script), str(tmp_path)]


def starts(roots: Roots) -> list[str]:
    path = roots.runs / "history.txt"
    return [line for line in path.read_text().splitlines() if line.startswith("start")] if path.exists() else []


def ready(roots: Roots) -> int:
    """How many trainings listen to signals by now."""
    path = roots.runs / "history.txt"
    return sum(line.startswith("ready") for line in path.read_text().splitlines()) if path.exists() else 0


def ends(roots: Roots) -> list[str]:
    return [line.split()[1] for line in (roots.runs / "history.txt").read_text().splitlines() if line.startswith("end")]


def until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_submit_waits_shares_and_finds_everything_done(roots: Roots, made_up: ModuleType, two_at_once: Local) -> None:
    (roots.runs / "together").write_text("2")
    asked = wanted("table1", "smoke", ["A", "D", "E"])
    said = io.StringIO()
    done = submit(asked, roots, two_at_once, display=Plain(said, every=0.0), stages=made_up.STAGES)
    assert (done.open, done.failures, len(done.job_ids)) == (9, (), 2)
    assert len(ends(roots)) == len(set(ends(roots))) == 9
    assert len({line.split()[-1] for line in starts(roots)}) == 2, "both workers had work"
    assert to_run(make_plan(asked, roots, two_at_once)) == []
    assert "table1/E evaluate done" in said.getvalue()
    assert "of 9 stages done" in said.getvalue()
    assert list((roots.runs / "submissions").iterdir()) == []
    again = submit(asked, roots, two_at_once, display=Plain(said), stages=made_up.STAGES)
    assert again.open == 0
    assert len(ends(roots)) == 9


def test_run_json_tells_what_was_launched(roots: Roots, made_up: ModuleType, two_at_once: Local) -> None:
    asked = wanted("table2", "smoke", ["lerp"])
    submit(asked, roots, two_at_once, display=Plain(io.StringIO()), stages=made_up.STAGES)
    shared = wanted("table1", "smoke", ["E"])
    folder = RunFolder(roots, shared[0].run, "smoke")
    noted = read_json(folder.description)
    assert noted["names"] == ["table2/lerp"]
    assert noted["scale"] == "smoke"
    assert noted["rows"]["table2/lerp"]["evaluation_id"] == shared[0].run.evaluation_id
    assert {"commit", "dirty"} <= noted.keys()
    rows = status_of(known_tasks(roots))
    assert [(row.run, row.stage, row.state) for row in rows] == [
        ("table2/lerp", stage, "done") for stage in ("train", "sample", "evaluate")
    ]


def test_failing_and_dying_rows_stop_nobody_else(roots: Roots, made_up: ModuleType, two_at_once: Local) -> None:
    (roots.runs / "seconds").write_text("0.05")
    (roots.runs / "fail").write_text("table1/A train\n")
    (roots.runs / "die").write_text("table1/D sample\n")
    one = Local(name="local", jobs_at_once=1, cpu_macs_per_second=1e10, cpu_features_per_second=10.0)
    asked = wanted("table1", "smoke", ["A", "D", "E"])
    said = io.StringIO()
    done = submit(asked, roots, one, display=Plain(said), stages=made_up.STAGES)
    failed = {(failure.run, failure.stage): failure.error for failure in done.failures}
    assert failed.keys() == {("table1/A", "train"), ("table1/D", "sample")}
    assert " ".join(failed["table1/A", "train"].split()) == "a made-up failure found table1/A expected nothing else"
    assert "killed" in failed["table1/D", "sample"]
    assert len(done.job_ids) == 2, "the worker that died was replaced"
    assert RunFolder(roots, jobs.find("table1/E", "smoke").run, "smoke").done("evaluate")
    assert "table1/A train FAILED: a made-up failure" in said.getvalue()
    for name in ("fail", "die"):
        (roots.runs / name).unlink()
    trained = [key for key in ends(roots) if key.startswith("train")]
    done = submit(asked, roots, two_at_once, display=Plain(said), stages=made_up.STAGES)
    assert done.failures == ()
    assert len(ends(roots)) == len(set(ends(roots))) == 9
    assert {key for key in ends(roots) if key.startswith("train")} > set(trained)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_submitter_that_ends_takes_its_workers_along_and_the_next_goes_on(
    roots: Roots, submitter: list[str], ending: signal.Signals
) -> None:
    (roots.runs / "seconds").write_text("0.3")
    command = [*submitter, "A,E"]
    # Its own session and a default SIGINT, as on a terminal.
    first = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=hears_interrupts
    )
    until(lambda: (roots.runs / "history.txt").exists() and len(ends(roots)) >= 1)
    workers = {int(line.split()[-1]) for line in starts(roots)}
    if ending is signal.SIGKILL:
        first.kill()
    else:
        os.killpg(first.pid, ending)
    first.communicate(timeout=20)
    until(lambda: not any(alive(pid) for pid in workers))
    until(lambda: not any(is_locked(path) for path in roots.runs.rglob("*.lock")))  # a worker may have begun just now
    finished = ends(roots)
    assert len(finished) < 6
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert second.stdout.startswith("0")
    assert len(set(ends(roots))) == len(ends(roots)) >= 4, "each of two may end between its output and its note of it"
    assert ends(roots)[: len(finished)] == finished


def test_a_training_saves_whose_submitter_was_killed(roots: Roots, submitter: list[str]) -> None:
    (roots.runs / "saves").touch()
    with subprocess.Popen([*submitter, "E"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        until(lambda: ready(roots) == 1)
        first.kill()
    (worker,) = (int(line.split()[-1]) for line in starts(roots))
    until(lambda: not alive(worker))
    last = (roots.runs / "history.txt").read_text().splitlines()[-1]
    assert last.startswith("saved train-")
    folder = RunFolder(roots, jobs.find("table1/E", "smoke").run, "smoke")
    assert folder.state("train") == "missing", "and it has not failed"


def test_a_training_whose_worker_was_asked_to_leave_is_saved_and_others_go_on(
    roots: Roots, submitter: list[str]
) -> None:
    (roots.runs / "saves").touch()
    with subprocess.Popen([*submitter, "A,E"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        until(lambda: ready(roots) == 2)
        for line in starts(roots):
            os.kill(int(line.split()[-1]), signal.SIGTERM)
        _, errors = first.communicate(timeout=30)
    assert "a training was asked to leave and is saved" in errors
    assert "without a word" not in errors
    for row in ("A", "E"):
        assert RunFolder(roots, jobs.find(f"table1/{row}", "smoke").run, "smoke").state("train") == "missing"


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def asking(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that would pass unnoticed, were it not for the submission."""
    before = signal.signal(request.param, lambda *_: None)
    yield request.param
    signal.signal(request.param, before)


def test_interrupted_workers_may_save_before_the_leash_is_let_go(
    roots: Roots,
    made_up: ModuleType,
    two_at_once: Local,
    monkeypatch: pytest.MonkeyPatch,
    asking: signal.Signals,
) -> None:
    held = []
    end = Crew._end

    def ending(crew: Crew) -> None:
        held.append(crew._chain.leash is not None and is_locked(crew._chain.leash))
        end(crew)

    def interrupted(*_: object) -> None:
        signal.raise_signal(asking)

    monkeypatch.setattr(Crew, "_end", ending)
    monkeypatch.setattr("hdit_repro.launch.submit.follow", interrupted)
    said = io.StringIO()
    with pytest.raises(Preempted, match="asked to leave and what is done is saved") as left:
        submit(wanted("table1", "smoke", ["E"]), roots, two_at_once, display=Plain(said), stages=made_up.STAGES)
    assert held == [True]
    assert (left.value.exit_code, left.value.signum) == (75, asking), "whoever starts again at 75 is to"
    assert left.value.found == f"{asking.name}, with 3 of 3 stages left"
    assert "asked to leave: what runs is saved" in said.getvalue()


class Staying:
    """A worker's job that does not end."""

    def done(self) -> bool:
        return False

    def cancel(self, check: bool) -> None:
        pass


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_workers_that_had_no_time_to_save_are_counted_and_ctrl_c_stays_what_it_is(
    roots: Roots, two_at_once: Local, monkeypatch: pytest.MonkeyPatch, interrupts: None, ending: signal.Signals
) -> None:
    monkeypatch.setattr(Crew, "start", lambda crew: crew._at_work.update({"0.0": Staying()}))
    monkeypatch.setattr("hdit_repro.launch.crew.PATIENCE", 0.0)

    def interrupted(*_: object) -> None:
        signal.raise_signal(ending)
        raise KeyboardInterrupt  # where this process is told to ignore it

    monkeypatch.setattr("hdit_repro.launch.submit.follow", interrupted)
    asked = wanted("table1", "smoke", ["E"])
    kind = Preempted if ending is signal.SIGTERM else KeyboardInterrupt
    with pytest.raises(kind) as left:
        submit(asked, roots, two_at_once, display=Plain(io.StringIO()))
    assert ("1 worker had no time to save" in str(left.value)) == (ending is signal.SIGTERM)


def test_workers_hear_interrupts_and_no_terminal_that_goes(interrupts: None) -> None:
    asks = "from signal import *; print([getsignal(number) is SIG_IGN for number in (SIGINT, SIGHUP)])"
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    with signals_of_workers():
        said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert said == "[False, True]\n"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before


def test_killed_workers_leave_a_message_and_the_next_goes_on(roots: Roots, submitter: list[str]) -> None:
    (roots.runs / "seconds").write_text("0.5")
    command = [*submitter, "E"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: len(starts(roots)) == 1)
    os.kill(int(starts(roots)[0].split()[-1]), signal.SIGKILL)
    said, errors = first.communicate(timeout=30)
    assert said.startswith("1"), errors
    assert "table1/E train FAILED: the process that ran it ended without a word" in errors
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout.startswith("0")
    assert len(ends(roots)) == 3


def test_without_waiting_the_last_worker_renders(roots: Roots, submitter: list[str]) -> None:
    (roots.runs / "seconds").write_text("0.1")
    rendered = roots.runs / "rendered"
    render = [sys.executable, "-c", f"open({str(rendered)!r}, 'a').write('x')"]
    said = subprocess.run([*submitter, "A,E", *render], capture_output=True, text=True, timeout=30, check=True).stdout
    workers = [int(pid) for pid in said.split()[1:]]
    assert len(workers) == 2
    until(lambda: not any(alive(pid) for pid in workers))
    assert rendered.exists()
    assert len(set(ends(roots))) == len(ends(roots)) == 6


@pytest.mark.parametrize(("full", "problem"), [(True, "no space left to write"), (False, "all workers ended")])
def test_workers_that_a_full_disk_silenced_are_told_as_that(
    roots: Roots, two_at_once: Local, monkeypatch: pytest.MonkeyPatch, full: bool, problem: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def start(_: Crew) -> None:
        if full:
            monkeypatch.setattr(os, "fsync", refuse)

    monkeypatch.setattr(Crew, "start", start)
    with pytest.raises(RunError, match=problem):
        submit(wanted("table1", "smoke", ["A"]), roots, two_at_once, display=Plain(io.StringIO()))


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_who_wants_no_tables_gets_none(roots: Roots, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    told: list[object] = []

    def start(*_: object, render: object, **__: object) -> Submission:
        told.append(render)
        return Submission(0, (), ())

    monkeypatch.setattr("hdit_repro.launch.submit.submit", start)
    monkeypatch.setattr("hdit_repro.launch.submit.run_render", lambda command: told.append(command) or [])
    monkeypatch.setattr(
        "hdit_repro.cli.submit._say_tables", lambda *_: pytest.fail("what renders may not be installed")
    )
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1/E", "--scale", "smoke", "--no-tables", *options]) == 0
    assert told == [None]


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """How a process on a terminal takes SIGINT, and one behind nohup or in a script's background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_a_submission_leaves_when_its_time_is_up_and_goes_on(
    roots: Roots, made_up: ModuleType, two_at_once: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdit_repro.launch.submit.GRACE", 0.2)
    (roots.runs / "seconds").write_text("1.5")
    asked = wanted("table1", "smoke", ["A", "E"])
    with pytest.raises(Preempted, match="the time is up") as left:
        submit(asked, roots, two_at_once, display=Plain(io.StringIO()), stages=made_up.STAGES, stop_after=1.0)
    assert left.value.exit_code == 75
    assert "the same command again" in left.value.fix
    assert "table1/A" in str(left.value)
    (roots.runs / "seconds").write_text("0")
    done = submit(asked, roots, two_at_once, display=Plain(io.StringIO()), stages=made_up.STAGES, stop_after=60.0)
    assert (done.open, done.failures) == (6, ())
    assert not to_run(make_plan(asked, roots, two_at_once))


class OneSecond(datetime):
    """A clock on which all that a test does lies within one second."""

    ticks = itertools.count()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> OneSecond:
        return cls(2026, 1, 1, microsecond=next(cls.ticks), tzinfo=tz)


def test_a_stop_file_ends_one_training_and_no_other_row(
    roots: Roots, made_up: ModuleType, two_at_once: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdit_repro.launch.submit.datetime", OneSecond)
    asked = wanted("table1", "smoke", ["A", "E"])
    folder = RunFolder(roots, asked[1].run, "smoke")
    folder.path.mkdir()
    (folder.path / "stop").touch()
    with pytest.raises(Preempted, match="saved") as left:
        submit(asked, roots, two_at_once, display=Plain(io.StringIO()), stages=made_up.STAGES)
    assert (left.value.exit_code, left.value.found) == (75, "table1/E")
    assert [(row.run, row.state) for row in status_of(known_tasks(roots))] == [
        *[("table1/A", "done")] * 3, *[("table1/E", "missing")] * 3,
    ]  # fmt: skip
    assert not folder.failure("train").exists()
    done = submit(asked, roots, two_at_once, display=Plain(io.StringIO()), stages=made_up.STAGES)
    assert (done.open, done.failures) == (3, ())


def test_a_training_that_saves_at_the_deadline_is_no_failure(roots: Roots, made_up: ModuleType) -> None:
    limits: list[float] = []

    def train(job: object, folder: object, settings: Settings, report: object) -> None:
        limits.append(settings.time_limit)
        time.sleep(settings.time_limit)
        raise Preempted("the run was asked to leave and is saved")

    tasks = tuple(tasks_for(wanted("table1", "smoke", ["E"]), roots))
    chain = StageChain(tasks, Settings(), "s", stages={**made_up.STAGES, "train": train}, deadline=time.time() + 0.3)
    assert chain() == {"done": [], "failed": []}
    assert len(limits) == 1
    assert 0 < limits[0] <= 0.3
