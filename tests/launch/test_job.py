"""One stage under its lock, and workers that share stages; all in this process, with made-up stages."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from hdit_repro.errors import RunError, UserError
from hdit_repro.files import lock, write_json
from hdit_repro.launch import job
from hdit_repro.launch.graph import Task, tasks_for
from hdit_repro.launch.job import StageChain, by_urgency, execute
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import Seen, Writer, read_failure, read_progress
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import Progress, Settings


def tasks(roots: Roots, *rows: str, experiment: str = "table1") -> tuple[Task, ...]:
    return tuple(tasks_for(wanted(experiment, "smoke", rows), roots))


def history(roots: Roots) -> list[str]:
    path = roots.runs / "history.txt"
    return path.read_text().splitlines() if path.exists() else []


def chain(made_up: ModuleType, work: tuple[Task, ...], session: str = "s", worker: str = "0") -> StageChain:
    return StageChain(work, Settings(), session, worker, stages=made_up.STAGES)


def test_a_chain_runs_every_stage_once_in_order(roots: Roots, made_up: ModuleType) -> None:
    work = tasks(roots, "A", "E")
    done = chain(made_up, work)()
    assert done == {"done": [task.key for task in work], "failed": []}
    assert [line.split()[1] for line in history(roots) if line.startswith("start")] == [task.key for task in work]
    assert chain(made_up, work)() == done
    assert len(history(roots)) == 2 * len(work)
    log = work[0].folder.log("train").read_text()
    assert "train table1/A, s/0" in log
    assert "train of table1/A says hello" in log


def test_a_stage_that_waits_for_another_process_says_so(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server may keep the lock of a node that died: the job is not to stand still without a word."""
    (task, *_), other = tasks(roots, "A"), contextlib.ExitStack()
    other.enter_context(lock(task.folder.lock("train")))

    class LetsGo(io.StringIO):
        def write(self, text: str) -> int:
            other.close()
            return super().write(text)

    said = LetsGo()
    monkeypatch.setattr("sys.stderr", said)
    assert execute(task, made_up.STAGES["train"], Settings(), owner="me")
    assert said.getvalue().startswith("train of table1/A is waited for: another process holds ")
    assert said.getvalue().count("waited for") == 1


def test_rows_that_share_a_checkpoint_train_it_once(roots: Roots, made_up: ModuleType) -> None:
    work = tasks(roots, "w1.0", "w1.5", experiment="guidance")
    chain(made_up, work)()
    assert [line.split()[1].split("-")[0] for line in history(roots) if line.startswith("start")] == [
        "train", "sample", "evaluate", "sample", "evaluate",
    ]  # fmt: skip


def test_a_failing_row_stops_nobody_else(roots: Roots, made_up: ModuleType) -> None:
    work = tasks(roots, "A", "E")
    (roots.runs / "fail").write_text("table1/A sample\n")
    done = chain(made_up, work)()
    assert done["failed"] == [work[1].key]
    assert done["done"] == [work[0].key, *(task.key for task in work[3:])]
    failure = read_failure(work[1].folder.failure("sample"))
    said = str(UserError("a made-up failure", found="table1/A", expected="nothing else"))
    assert failure["error"] == said
    assert "UserError" in failure["traceback"]
    assert work[1].folder.log("sample").read_text().endswith(f"\nerror: {said}\n"), "without a traceback"
    assert work[1].folder.state("sample") == "failed"
    # Another session tries it again, and only what is missing.
    (roots.runs / "fail").unlink()
    before = len(history(roots))
    assert chain(made_up, work, session="t")()["failed"] == []
    assert len(history(roots)) - before == 4
    assert not work[1].folder.failure("sample").exists()


def test_a_log_has_the_traceback_of_an_error_that_nobody_expected(roots: Roots, made_up: ModuleType) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a cause")

    (task, *_) = tasks(roots, "A")
    StageChain((task,), Settings(), "s", stages={"train": broken})()
    *_, frame, line = task.folder.log("train").read_text().splitlines()
    assert "raise ZeroDivisionError" in frame
    assert line == "ZeroDivisionError: a cause"
    assert not read_failure(task.folder.failure("train"))["own"]


def test_two_workers_never_run_a_stage_twice(roots: Roots, made_up: ModuleType) -> None:
    (roots.runs / "seconds").write_text("0.05")
    work = tasks(roots, "A")
    results: list[dict[str, list[str]]] = []
    workers = [
        threading.Thread(target=lambda name=name: results.append(chain(made_up, work, worker=name)())) for name in "01"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=20)
    assert [result["done"] for result in results] == [[task.key for task in work]] * 2
    assert sorted(line.split()[0] for line in history(roots)) == ["end"] * 3 + ["start"] * 3


def test_a_stage_that_another_process_runs_is_waited_for(roots: Roots, made_up: ModuleType) -> None:
    work = tasks(roots, "A")
    folder = work[0].folder
    worker = threading.Thread(target=chain(made_up, work))
    with lock(folder.lock("train")):
        worker.start()
        time.sleep(0.5)
        assert history(roots) == []
        made_up.leave_output(folder, "train")
    worker.join(timeout=20)
    assert folder.done("evaluate")
    assert not any("train-" in line for line in history(roots))


def test_execute_keeps_why_it_failed_and_clears_it(roots: Roots, made_up: ModuleType) -> None:
    task = tasks(roots, "E")[0]

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a cause")

    with pytest.raises(ZeroDivisionError):
        execute(task, broken, Settings(), owner="me")
    assert read_failure(task.folder.failure("train"))["error"] == "ZeroDivisionError: a cause"
    with pytest.raises(RunError, match="without its output"):
        execute(task, lambda *_: None, Settings(), owner="me")
    assert execute(task, made_up.STAGES["train"], Settings(), owner="me")
    assert not task.folder.failure("train").exists()
    assert execute(task, broken, Settings(), owner="me")  # done: nothing is called
    with lock(tasks(roots, "A")[0].folder.lock("train")):
        assert not execute(tasks(roots, "A")[0], broken, Settings(), owner="me", wait=False)


def test_what_failed_is_told_where_it_cannot_be_noted(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a quota of files: the note's own failure hid the reason, and a worker tried again for ever."""
    found = tasks(roots, "E")

    def full(path: Path, value: object) -> None:
        if path.name.endswith(".failure.json"):
            raise RunError(f"no space left to write {path.name}")
        write_json(path, value)

    monkeypatch.setattr("hdit_repro.launch.progress.write_json", full)
    (roots.runs / "fail").write_text("table1/E train")
    with pytest.raises(UserError, match="a made-up failure"):
        execute(found[0], made_up.STAGES["train"], Settings(), owner="me")
    with pytest.raises(UserError, match="a made-up failure"):
        StageChain(tuple(found), Settings(), "session", stages=made_up.STAGES)()
    assert len(history(roots)) == 2


def test_a_note_of_progress_that_the_system_refuses_ends_no_stage(
    roots: Roots, made_up: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hdit_repro.launch.progress.write_json", stumbles)
    assert execute(tasks(roots, "E")[0], made_up.STAGES["train"], Settings(), owner="me")


def test_interruption_is_no_failure(roots: Roots) -> None:
    task = tasks(roots, "E")[0]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(task, interrupted, Settings(), owner="me")
    assert task.folder.state("train") == "missing"


def test_a_worker_outlasts_a_file_server_that_stumbles_and_not_its_submitter(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool | OSError] = [True, OSError(errno.ESTALE, os.strerror(errno.ESTALE)), True, False]

    def look(_: Path) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(job, "is_locked", look)
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(job, "POLL", 0.0)
    monkeypatch.setattr(job, "PATIENCE", 0.0)
    monkeypatch.setattr("os.kill", lambda *to: sent.append(to))
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit):
        job._watch(Path("leash"))
    assert answers == []
    assert sent == [(os.getpid(), signal.SIGINT)]


@pytest.mark.parametrize(
    "text",
    ["null", "[]", '{"done": "x"}', '{"values": 1.5}', '{"values": {"loss": "low"}}', '{"time": "soon"}', '{"x": 1}'],
)
def test_progress_of_another_shape_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert read_progress(tmp_path / "progress.json") == Seen()


def test_progress_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    """No JSON holds it, `status --json` neither."""
    path = tmp_path / "progress.json"
    path.write_text('{"done": 2, "total": 4, "values": {"loss": 1e999, "rate": 3}}')
    assert read_progress(path) == Seen(done=2, total=4, values={"rate": 3.0})
    for text in ('"time": 1e999', '"values": {"loss": NaN}', f'"first": 1{"0" * 400}', '"first": -1'):
        path.write_text(f'{{"done": 2, "total": 4, {text}}}')
        assert read_progress(path) == Seen(), text


@pytest.mark.parametrize("text", ["", "[]", "3", '{"time": "x"}', '{"error": [], "time": 3.0}', '{"time": null}'])
def test_a_failure_of_another_shape_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    path.write_text(text)
    assert read_failure(path) == {}


def test_progress_is_written_about_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    passed: list[int] = []
    writer = Writer(path, "me", lambda progress: passed.append(progress.done))
    assert read_progress(path).note == "starting"
    for done in range(1, 100):
        writer(Progress("train", done, 100, "", {"loss": 0.5}))
    assert read_progress(path).done == 0
    writer(Progress("train", 100, 100, "", {"loss": float("nan"), "rate": 2.0}))
    seen = read_progress(path)
    assert (seen.done, seen.total, seen.values, seen.owner, seen.first) == (100, 100, {"rate": 2.0}, "me", 1)
    assert passed == list(range(1, 101))
    path.write_text(json.dumps({"done": 1, "strange": 2}))
    assert read_progress(path) == Seen()
    path.write_text("{")
    assert read_progress(path) == Seen()


def test_progress_goes_on_where_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "progress.json", "me")
    passed, set_back = time.monotonic() + 2.0, time.time() - 3600.0
    monkeypatch.setattr("time.time", lambda: set_back)
    monkeypatch.setattr("time.monotonic", lambda: passed)
    writer(Progress("train", 5, 100, ""))
    assert read_progress(tmp_path / "progress.json").done == 5


def test_time_left_counts_only_what_this_process_did() -> None:
    resumed = Seen(done=60, total=100, first=50, began=1000.0, time=1020.0)
    assert resumed.seconds_left == pytest.approx(80.0)
    assert Seen(done=50, total=100, first=50, began=1000.0, time=1020.0).seconds_left is None


def test_the_longest_row_comes_first_and_keeps_its_order(roots: Roots) -> None:
    work = tasks(roots, "A", "E")
    hours = {task.key: (2.0 if task.name == "table1/E" else 1.0) for task in work}
    ordered = by_urgency(work, hours)
    assert [(task.name[-1], task.stage) for task in ordered] == [
        (row, stage) for row in "EA" for stage in ("train", "sample", "evaluate")
    ]


def test_a_chain_and_its_errors_cross_to_other_processes(roots: Roots) -> None:
    whole = StageChain(tasks(roots, "E"), Settings(), "s")
    back = pickle.loads(pickle.dumps(whole))
    assert [task.key for task in back.tasks] == [task.key for task in whole.tasks]
    assert back.tasks[0].job == whole.tasks[0].job
    error = pickle.loads(pickle.dumps(UserError("p", found="f", expected="e", fix="x")))
    assert str(error) == str(UserError("p", found="f", expected="e", fix="x"))
