"""What is waited for, and what is not: a queue that does not answer, jobs of others, ends that nobody told of."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hdit_repro.cli import slurm
from hdit_repro.cli.app import main
from hdit_repro.errors import RunError
from hdit_repro.files import lock, write_json
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.part import Part
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import LEFT, note_left, write_failure
from hdit_repro.launch.slurm import act, attempts, journal, live, queue
from hdit_repro.launch.slurm.live import look
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots, RunFolder

Send = Callable[[Roots, list[str]], Submitted]


def test_accounts_that_know_no_end_tell_of_none(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    """A node's failure that the accounts never heard of, or another job under the id."""
    send(roots, ["E"])
    fake.end_all()
    (fake.here / "sacct").write_text("#!/bin/bash\necho '100|RUNNING'\n")
    (fake.here / "sacct").chmod(0o755)
    assert "job 100 is in the queue no more" in look(roots, known_tasks(roots, "table1/E")).rows[0].error
    (fake.here / "sacct").write_text("#!/bin/bash\necho '100|NODE_FAIL'\n")
    assert "job 100 node_fail without" in look(roots, known_tasks(roots, "table1/E")).rows[0].error


def test_logs_print_what_a_job_said_whose_python_never_began(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], send: Send
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    fake.end_all()
    capsys.readouterr()
    assert main(["logs", "table1/E"]) == 0
    assert "no stage of table1/E has printed anything here" in capsys.readouterr().err
    folder = journal.folder(roots, journal.journals(roots)[0].session)
    (folder / "100_0_log.err").write_text("".join(f"line {place}\n" for place in range(11)) + "no module\n\n")
    (folder / "100_0_log.out").write_text("\n")
    assert main(["logs", "table1/E"]) == 0
    shown, said = capsys.readouterr()
    assert shown.splitlines() == [
        f"== the end of runs/submissions/{folder.name}/100_0_log.err",
        *(f"line {place}" for place in range(2, 11)), "no module",
    ]  # fmt: skip
    assert said == ""
    (folder / "101_0_log.err").write_text("no node\n")
    assert main(["logs", "table1/E"]) == 0
    assert capsys.readouterr().out.splitlines()[11:] == [
        f"== the end of runs/submissions/{folder.name}/101_0_log.err", "no node",
    ]  # fmt: skip
    (folder / "101_0_log.err").unlink()
    train = train_of(roots)
    attempts.begin(train, folder.name, "100", 8, "train of table1/E")
    train.log.write_text("it trains\n")
    assert main(["logs", "table1/E"]) == 0
    assert capsys.readouterr().out == "it trains\n"


def train_of(roots: Roots) -> Part:
    part = Part(known_tasks(roots, "table1/E")[0].folder, "train")
    part.log.parent.mkdir(parents=True, exist_ok=True)
    return part


@pytest.mark.parametrize(("job", "later", "shown"), [("100", 300, True), ("100", 5, False), ("99", 0, True)])
@pytest.mark.parametrize("told", ["attempt", "failure"])
def test_logs_print_what_a_job_said_that_did_not_begin_again(
    roots: Roots,
    fake: Any,
    capsys: pytest.CaptureFixture[str],
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
    told: str,
    job: str,
    later: int,
    shown: bool,
) -> None:
    """The stage has a log, of an earlier start of the same job, or of a job before this one."""
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    fake.end_all()
    folder = journal.folder(roots, journal.journals(roots)[0].session)
    train = train_of(roots)
    train.log.write_text("it trains\n")
    if told == "attempt":
        attempts.begin(train, folder.name, job, 8, "train of table1/E")
        attempts.end(train, "preempted")
    else:
        write_failure(train.failure, "it trains", "", f"{folder.name}/{job}")
    own = folder / "100_0_log.err"
    own.write_text("no module\n")
    os.utime(own, (time.time() + later,) * 2)
    capsys.readouterr()
    assert main(["logs", "table1/E"]) == 0
    assert capsys.readouterr().out.splitlines()[0::2] == ["it trains", *["no module"][: int(shown)]]
    with lock(train.lock):  # it runs again, and will say what there is to say
        assert main(["logs", "table1/E"]) == 0
    assert "no module" not in capsys.readouterr().out


def test_logs_print_what_the_job_said_of_a_stage_that_was_killed(
    roots: Roots, fake: Any, capsys: pytest.CaptureFixture[str], send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM says it within a moment of the stage's last word, which is all that the stage's own log has."""
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    fake.end_all()
    folder = journal.folder(roots, journal.journals(roots)[0].session)
    train = train_of(roots)
    train.log.write_text("it trains\n")
    attempts.begin(train, folder.name, "100", 8, "train of table1/E")
    own = folder / "100_0_log.err"
    own.write_text("oom_kill event\n")
    os.utime(own, (time.time() + 5,) * 2)
    for _ in range(2):
        capsys.readouterr()
        assert main(["logs", "table1/E"]) == 0
        assert capsys.readouterr().out.splitlines()[0::2] == ["it trains", "oom_kill event"]
        attempts.close(train)  # as whoever looks at it next does


def test_what_is_held_is_told_with_what_lets_it_go(
    roots: Roots, fake: Any, capsys: pytest.CaptureFixture[str], send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that SLURM could not make leaves a job held: it is in the queue, and waits for ever."""
    monkeypatch.chdir(roots.runs.parent)
    send(roots, ["E"])
    training = f"100|PENDING|launch failed requeued held|0:00|{name_of(roots, 0)}"
    shards = [one for one in fake.queue if one.startswith("101")]
    fake.show(training, *(f"{one}|PENDING|JobHeldUser|0:00|{name_of(roots, 1)}" for one in shards))
    words = "held until `scontrol release 100,101`"
    for command in (["status"], ["submit", "table1/E", "--cluster", "a100", "--allow-dirty"]):
        capsys.readouterr()
        assert main(command) == 0
        assert words in capsys.readouterr().err
    monkeypatch.setattr(queue, "POLITE", 0.0)
    monkeypatch.setattr(live, "UNSEEN", 0.0)
    looks = iter([training, training, training.replace("launch failed requeued held", "None")])

    def squeue(*_: object) -> dict[str, queue.Queued]:
        line = next(looks, None)
        return {"100": queue._queued(*line.split("|", 4))} if line else {}

    cluster = read_cluster("a100")
    assert isinstance(cluster, Slurm)
    monkeypatch.setattr(queue, "squeue", squeue)
    with pytest.raises(RunError, match="nothing of them in the queue"):
        slurm._stay(wanted("table1", "paper", ["E"]), roots, cluster)
    assert capsys.readouterr().err.count("held until `scontrol release 100`") == 1


def name_of(roots: Roots, unit: int) -> str:
    return journal.journals(roots)[0].units[unit].name


def test_a_jobs_name_in_another_encoding_keeps_nothing_from_being_found(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    send(roots, ["E"])
    with (fake.here / "queue").open("ab") as queued:
        queued.write(b"7|RUNNING|None|0:01|gr\xf6\xdfe\n")
    assert [row.state for row in look(roots, known_tasks(roots, "table1/E")).rows] == ["queued"] * 3


def test_a_foreign_job_with_an_id_of_ours_is_not_counted_upon_and_not_cancelled(
    roots: Roots, fake: Any, send: Send
) -> None:
    send(roots, ["E"])
    render = len(fake.calls) - 1
    fake.show("100|RUNNING|None|9:00|thesis-simulation", f"10{render}|PENDING|None|0:00|thesis-plot")
    assert act.cancel(roots, known_tasks(roots, "table1/E")) == []
    assert len(fake.queue) == 2
    again = send(roots, ["E"])
    assert (again.queued, len(again.job_ids)) == (0, 3)
    assert "afterok:103" in fake.calls[4]


def test_what_is_being_ended_is_submitted_again_and_what_was_requeued_is_not(
    roots: Roots, fake: Any, send: Send
) -> None:
    send(roots, ["E"])
    fake.show(f"100|COMPLETING|None|0:00|{name_of(roots, 0)}")  # requeued: has used no time
    assert send(roots, ["E"]).queued == 1
    fake.show(f"100|COMPLETING|None|15:04|{name_of(roots, 0)}")  # cancelled, and still saving
    assert send(roots, ["E"]).queued == 0
    assert act.cancel(roots, known_tasks(roots, "table1/E"))
    assert fake.queue == ["100"]


def test_waiting_outlasts_a_scheduler_that_does_not_answer(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The queue is asked once by submit; after that the controller restarts, twice."""
    asked: list[int] = []

    def squeue(users: set[int]) -> dict[str, queue.Queued]:
        asked.append(1)
        if len(asked) in (2, 4):
            raise RunError("squeue failed", found="Unable to contact slurm controller")
        return listed(users) if len(asked) < 6 else {}

    listed = queue.squeue
    monkeypatch.setattr(queue, "squeue", squeue)
    monkeypatch.setattr(queue, "POLITE", 0.0)
    monkeypatch.setattr(live, "UNSEEN", 0.0)
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1", "--cluster", "a100", "--allow-dirty", "--rows", "E", "--wait"]) == 1
    assert "3 stages not done, and nothing of them in the queue" in capsys.readouterr().err
    assert len(asked) == 6


@pytest.mark.parametrize("noted", [True, False])
def test_what_has_left_the_queue_is_waited_for_while_its_output_may_be_unseen(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send, noted: bool
) -> None:
    """NFS shows what a node wrote up to a minute late to a machine that has looked for it before."""
    send(roots, ["E"])
    fake.end_all()
    cluster, jobs = read_cluster("a100"), wanted("table1", "paper", ["E"])
    assert isinstance(cluster, Slurm)
    monkeypatch.setattr(queue, "POLITE", 0.0)
    looks: list[float] = []
    clock = SimpleNamespace(sleep=looks.append, monotonic=time.monotonic, time=time.time)
    monkeypatch.setattr("hdit_repro.launch.follow.time", clock)  # its own alone: subprocess sleeps too
    done = RunFolder.done
    monkeypatch.setattr(RunFolder, "done", lambda self, stage: len(looks) > 5 or done(self, stage))
    if noted:  # a job that said why it failed is believed at once
        words = str(RunError("out of memory", found="a batch of 256", fix="a smaller microbatch"))
        write_failure(tasks_for(jobs, roots)[0].folder.failure("train"), words, "", "s/100", own=True)
        with pytest.raises(RunError, match="nothing of them in the queue") as caught:
            slurm._stay(jobs, roots, cluster)
        first, *more = str(caught.value.found).splitlines()
        assert first.startswith("table1/E train: out of memory (log: ")
        assert [" ".join(line.split()) for line in more] == [
            "found a batch of 256", "fix a smaller microbatch", "table1/E sample, table1/E evaluate",
        ]  # fmt: skip
        assert looks == []
    else:
        slurm._stay(jobs, roots, cluster)


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_a_scheduler_that_does_not_answer_is_no_empty_queue(
    roots: Roots,
    fake: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    send: Send,
) -> None:
    """The first question fails, as while a controller restarts; the next would be answered."""
    send(roots, ["E"])
    queued, squeue = fake.queue, fake.here / "squeue"
    answer = squeue.read_text()
    down = fake.here / "squeue.down"
    down.touch()
    once = f"rm {shlex.quote(str(down))} 2>/dev/null && {{ echo timed out >&2; exit 1; }}"
    squeue.write_text(f"#!/bin/bash\n{once}\n{answer}")
    monkeypatch.chdir(roots.runs.parent)
    assert main([command, "table1/E"]) == 1
    said = capsys.readouterr().err
    assert "squeue failed" in said
    assert "timed out" in said
    assert fake.queue == queued
    by_hand = said.partition("by hand: ")[2].splitlines()[0]
    assert shlex.split(by_hand)[-1] == "%i|%T|%r|%M|%j", "no pipes for a shell"


def test_jobs_of_a_colleague_in_the_same_workplace_are_waited_for(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    send(roots, ["E"])
    theirs, listing = os.getuid() + 4321, fake.here / "squeue"
    body = listing.read_text().partition("\n")[2]
    listing.write_text(f'#!/bin/bash\n[[ ",$4," == *,{theirs},* ]] || exit 0\n{body}')
    assert next(row.state for row in look(roots, known_tasks(roots, "table1/E")).rows) == "failed"
    monkeypatch.setattr(journal, "submitters", lambda _: {theirs})
    assert [row.state for row in look(roots, known_tasks(roots, "table1/E")).rows] == ["queued"] * 3
    assert send(roots, ["E"]).job_ids == ()


def test_submitters_are_the_owners_of_submissions(roots: Roots, fake: Any, send: Send) -> None:
    assert journal.submitters(roots) == set()
    send(roots, ["E"])
    assert journal.submitters(roots) == {os.getuid()}


def test_nothing_runs_while_all_of_it_waits(roots: Roots, fake: Any, send: Send) -> None:
    """A measurement that was preempted spoke a moment ago; its job is in the queue again."""
    send(roots, ["E"])
    (task,) = [task for task in known_tasks(roots, "table1/E") if task.stage == "evaluate"]
    write_json(task.folder.progress("evaluate"), {"done": 1, "total": 9, "time": time.time()})
    assert look(roots, [task]).rows[0].state == "queued"
    fake.show(*[line.replace("PENDING", "RUNNING") for line in (fake.here / "queue").read_text().splitlines()])
    assert look(roots, [task]).rows[0].state == "running"


def test_a_queue_that_does_not_answer_may_hold_what_is_watched(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    send(roots, ["E"])
    squeue = fake.here / "squeue"
    answers, tasks = squeue.read_text(), known_tasks(roots, "table1/E")
    assert look(roots, tasks).going
    squeue.write_text("#!/bin/bash\nexit 1\n")
    assert look(roots, tasks).going
    with monkeypatch.context() as patch:
        patch.setattr(queue, "present", lambda: False)
        assert not look(roots, tasks).going, "where there is no SLURM, nobody waits for its answer"
    squeue.write_text(answers)
    fake.end_all()
    assert not look(roots, tasks).going


def test_who_stops_waiting_is_told_that_the_jobs_go_on(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hdit_repro.launch.follow.follow", interrupted)
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1/E", "--cluster", "a100", "--allow-dirty", "--wait"]) == 130
    said = capsys.readouterr().err
    assert "the jobs go on" in said
    assert "`hdit-repro cancel table1`" in said
    assert fake.queue


def test_a_file_server_whose_clock_is_ahead_holds_nobody_up(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    made = send(roots, ["E"])
    (entry,) = journal.journals(roots)
    entry.state = "open"
    journal.save(roots, entry)
    ahead = time.time() + 3600
    os.utime(journal.folder(roots, made.session) / journal.NAME, (ahead, ahead))
    slept: list[float] = []
    monkeypatch.setattr("hdit_repro.launch.slurm.submit.SETTLING", 5.0)
    monkeypatch.setattr("hdit_repro.launch.slurm.submit.time.sleep", slept.append)
    assert send(roots, ["E"]).queued == 3
    assert max(slept) == 5.0


def test_what_a_stop_file_ended_says_so_and_can_be_retried(roots: Roots, fake: Any, send: Send) -> None:
    send(roots, ["E"])
    fake.end_all()
    tasks = known_tasks(roots, "table1/E")
    note_left(tasks[0].folder.progress("train"), "s/100")
    assert [(row.state, row.error) for row in look(roots, tasks).rows] == [
        ("failed", LEFT), ("missing", ""), ("missing", ""),
    ]  # fmt: skip
    assert [found.stages for found in act.failed(roots, tasks)] == [("table1/E train",)]
