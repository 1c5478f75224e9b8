"""A submission is whole or not there: sbatch that refuses half-way, a disk that fills up. No scheduler."""

from __future__ import annotations

import errno
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from submitit.core.utils import DelayedSubmission

from hdit_repro.cli import slurm
from hdit_repro.cli.app import main
from hdit_repro.errors import RunError, UserError
from hdit_repro.files import write_bytes, write_json
from hdit_repro.jobs import files
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.plan import tasks_for, wanted
from hdit_repro.launch.progress import LEFT, note_left, write_failure
from hdit_repro.launch.slurm import act, executor, journal, preflight, queue
from hdit_repro.launch.slurm.live import look
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted, submit
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots

SBATCH = """
[ "$1" = --test-only ] && exit 0
script="${@: -1}"
number=$(wc -l < {here}/calls)
echo "$*" >> {here}/calls
[ -f {here}/refuse ] && [ $number = $(cat {here}/refuse) ] && { echo "sbatch: error: no more" >&2; exit 1; }
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
id=$((100 + number))
if [ -n "$last" ]; then
  for place in $(seq 0 "$last"); do echo "${id}_$place|PENDING|Priority|0:00|$name" >> {here}/queue; done
else
  echo "$id|PENDING|Priority|0:00|$name" >> {here}/queue
fi
echo "Submitted batch job $id"
"""

SCANCEL = """
for id in "$@"; do
  [ "$id" = -Q ] || { grep -v "^$id[_|]" {here}/queue > {here}/left; mv {here}/left {here}/queue; }
done
"""

COMMANDS = {
    "sbatch": SBATCH,
    "scancel": SCANCEL,
    "squeue": "cat {here}/queue",
    "sinfo": "echo 'a100|up|2|gpu:a100:8|idle'",
}


class FakeSlurm:
    """SLURM's commands as a few lines of shell, to see what a submission leaves in the queue.

    `queue` and `calls` are files of its folder.

    Args:
        here: the folder; goes first on PATH.
    """

    def __init__(self, here: Path) -> None:
        self.here = here
        here.mkdir()
        for name in ("queue", "calls"):
            (here / name).touch()
        for name, body in COMMANDS.items():
            (here / name).write_text("#!/bin/bash\n" + body.replace("{here}", str(here)))
            (here / name).chmod(0o755)

    @property
    def queue(self) -> list[str]:
        """Ids of what is in the queue, arrays element by element."""
        return [line.partition("|")[0] for line in (self.here / "queue").read_text().splitlines()]

    @property
    def calls(self) -> list[str]:
        """The arguments of each call of sbatch that was to submit."""
        return (self.here / "calls").read_text().splitlines()

    def refuse(self, call: int) -> None:
        """From now on sbatch refuses its call of this number, counted from 0 and from the start."""
        (self.here / "refuse").write_text(str(call))

    def show(self, *lines: str) -> None:
        """The queue as squeue tells it: id, state, reason, time used, name."""
        (self.here / "queue").write_text("".join(f"{line}\n" for line in lines))

    def end_all(self) -> None:
        """Empty the queue."""
        self.show()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("hdit_repro.launch.slurm.submit.SETTLING", 0.0)
    return made


def send(roots: Roots, rows: list[str]) -> Submitted:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    return submit(wanted("table1", "paper", rows), roots, profile, render=("this",), allow_dirty=True)


def states(roots: Roots) -> list[str]:
    return [entry.state for entry in journal.journals(roots)]


def test_a_whole_submission_is_in_the_queue_in_order_and_once(roots: Roots, fake: FakeSlurm) -> None:
    made = send(roots, ["A", "E"])
    assert made.job_ids == ("100", "101", "102", "103"), "the trains, the samples of each, the render"
    assert [call.split()[0] for call in fake.calls[1:]] == [
        "--dependency=afterok:100_0", "--dependency=afterok:100_1", "--dependency=afterany:100:101:102",
    ]  # fmt: skip
    assert all("--kill-on-invalid-dep=yes" in call for call in fake.calls[1:])
    assert states(roots) == ["whole"]
    before = fake.queue
    again = send(roots, ["A", "E"])
    assert (again.open, again.queued, again.job_ids) == (6, 6, ())
    assert (fake.queue, len(fake.calls)) == (before, 4)


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_sbatch_that_refuses_at_any_call_leaves_nothing_and_the_next_submits_all(
    roots: Roots, fake: FakeSlurm, call: int
) -> None:
    fake.refuse(call)
    with pytest.raises(RunError, match="sbatch refuses") as refusal:
        send(roots, ["A", "E"])
    assert "no more" in str(refusal.value.found)
    assert refusal.value.fix
    assert len(fake.calls) == call + 1
    assert fake.queue == []
    assert states(roots) == ["cancelled"]
    assert len(send(roots, ["A", "E"]).job_ids) == 4
    assert states(roots) == ["cancelled", "whole"]


def failing(function: Callable[..., Any], at: int, error: Exception) -> Callable[..., Any]:
    """The function, which raises from its call number `at` on."""
    calls = 0

    def called(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > at:
            raise error
        return function(*arguments, **more)

    return called


@pytest.mark.parametrize("command", ["submit", "cancel"])
def test_a_controller_that_hangs_half_way_is_told_and_the_next_command_finds_what_is_left(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The second sbatch times out though its job is taken, and so does squeue after it."""
    with monkeypatch.context() as patch:
        squeue, sbatch = fake.here / "squeue", fake.here / "sbatch"
        answers, takes = squeue.read_text(), sbatch.read_text()
        hung = fake.here / "hung"
        sbatch.write_text(f"{takes}[ $number = 1 ] && touch {hung} && echo timed out >&2 && exit 1 || exit 0\n")
        squeue.write_text(f"#!/bin/bash\n[ ! -e {hung} ] || exit 1\n{answers}")
        with pytest.raises(RunError, match="failed half-way, and SLURM did not answer") as told:
            send(roots, ["E"])
        assert "timed out; in the queue: jobs 100, and the one that was being submitted" in str(told.value.found)
        squeue.write_text(answers)
        sbatch.write_text(takes)
        patch.chdir(roots.runs.parent)
        assert fake.queue[0] == "100"
        assert len(fake.queue) > 1
        if command == "cancel":
            assert main(["cancel", "table1/E"]) == 0
            assert fake.queue == []
        else:
            assert send(roots, ["E"]).queued == 1
            assert not [job_id for job_id in fake.queue if job_id.startswith("101")]


def test_accounts_that_know_no_end_tell_of_none(roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's failure that the accounts never heard of, or another job under the id."""
    send(roots, ["E"])
    fake.end_all()
    (fake.here / "sacct").write_text("#!/bin/bash\necho '100|RUNNING'\n")
    (fake.here / "sacct").chmod(0o755)
    assert "job 100 is in the queue no more" in look(roots, known_tasks(roots, "table1/E")).rows[0].error
    (fake.here / "sacct").write_text("#!/bin/bash\necho '100|NODE_FAIL'\n")
    assert "job 100 node_fail without" in look(roots, known_tasks(roots, "table1/E")).rows[0].error


FULL = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_quota_that_is_full_half_way_leaves_no_job(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(executor, "write_bytes", failing(write_bytes, at, FULL))
        with pytest.raises(RunError, match="could not be written") as refusal:
            send(roots, ["A", "E"])
    assert "quota" in str(refusal.value.found)
    assert "gc" in refusal.value.fix
    assert fake.queue == []
    assert len(send(roots, ["A", "E"]).job_ids) == 4


def test_a_journal_that_cannot_be_written_costs_its_jobs_and_the_next_call_knows(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of the first unit never reaches the disk: it is cancelled all the same."""
    with monkeypatch.context() as patch:
        patch.setattr(journal, "save", failing(journal.save, 2, FULL))
        with pytest.raises(RunError, match="could not be written"):
            send(roots, ["A", "E"])
    assert len(fake.calls) == 1
    assert fake.queue == []
    assert states(roots) == ["open"]
    assert len(send(roots, ["A", "E"]).job_ids) == 4
    assert states(roots) == ["cancelled", "whole"]


def test_a_full_quota_and_a_small_disk_are_found_before(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, 0, FULL))
        with pytest.raises(RunError, match="no space left"):
            preflight.check_room(roots.runs, 0)
    assert list(roots.runs.iterdir()) == []
    with pytest.raises(UserError, match="not enough room") as refusal:
        preflight.check_room(roots.runs, 1 << 60)
    assert "gc" in refusal.value.fix
    assert fake.calls == []


def test_what_is_queued_counts_against_the_sites_cap() -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    preflight.check_cap(profile, 10**6, 10**6)  # 0 is no cap
    capped = msgspec.structs.replace(profile, submit_cap=10)
    preflight.check_cap(capped, 6, 4)
    with pytest.raises(UserError, match="does not take so many jobs") as refusal:
        preflight.check_cap(capped, 7, 4)
    assert refusal.value.found == "4 to be submitted, 7 in the queue"
    assert str(refusal.value.expected).startswith("10 in all")


def test_the_budget_is_the_profiles_own(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = roots.runs.parent / "jobs" / "clusters"
    folder.mkdir(parents=True)
    profile = (files.folders()[-1] / "clusters" / "a100.toml").read_text()
    (folder / "thrifty.toml").write_text(profile.replace("ask_above_gpu_hours = 100.0", "ask_above_gpu_hours = 59.0"))
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1", "--cluster", "thrifty", "--allow-dirty", "--rows", "E"]) == 2
    assert "59 at most (ask_above_gpu_hours of thrifty)" in capsys.readouterr().err
    assert fake.calls == []


def test_jobs_are_told_the_threads_and_the_batch_of_the_profile(roots: Roots, fake: FakeSlurm) -> None:
    made = send(roots, ["E"])
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    (dumped,) = (journal.folder(roots, made.session)).glob("100_submitted.pkl")
    told = DelayedSubmission.load(dumped)
    assert (told.function.settings.threads, told.function.settings.batch) == (8, 64)
    assert (profile.cpus_per_gpu, profile.sample_batch) == (8, 64)
    assert told.function.gpus == profile.train_gpus
    assert told._timeout_countdown >= 3


def test_scripts_are_shown_where_the_queue_cannot_be_asked(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    why = "slurm_load_jobs error: Unable to contact slurm controller"
    (fake.here / "squeue").write_text(f"#!/bin/bash\necho {why!r} >&2\nexit 1\n")
    assert main(["submit", "table1/E", "--cluster", "a100", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out.count("#SBATCH --job-name=") == 3
    assert f"squeue failed ({why}): the queue is taken to be empty" in " ".join(said.err.split())
    assert fake.calls == []


def test_more_than_the_stated_budget_needs_a_yes(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    asked = ["submit", "table1", "--cluster", "a100", "--allow-dirty"]
    assert main([*asked, "--rows", "R1,E"]) == 2
    said = capsys.readouterr()
    assert "costs more than is given without asking" in said.err
    assert "100 at most (ask_above_gpu_hours of a100)" in said.err
    assert (fake.calls, fake.queue, states(roots)) == ([], [], [])
    assert main([*asked, "--rows", "E"]) == 0, "60 hours are fewer than 100"
    assert capsys.readouterr().out.split() == ["100", "101", "102"]
    assert main([*asked, "--rows", "R1", "--yes"]) == 0
    assert len(fake.calls) == 6


def test_retry_sends_every_row_of_a_training_that_failed_and_asks_as_submit_does(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "guidance", "--cluster", "a100", "--allow-dirty", "--yes", "--rows", "w1.0,w1.1,w1.2"]) == 0
    training = tasks_for(wanted("guidance", "paper", ["w1.0"]), roots)[0]
    write_failure(training.folder.failure("train"), "boom", "boom", "x")
    first, queued = list(fake.calls), len(fake.queue)
    fake.end_all()
    assert main(["retry", "guidance", "--allow-dirty"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert fake.calls == first
    assert main(["retry", "guidance", "--allow-dirty", "--yes"]) == 0
    assert len(fake.queue) == queued, "the training and the samples of all three rows"


def name_of(roots: Roots, unit: int) -> str:
    return journal.journals(roots)[0].units[unit].name


def test_a_foreign_job_with_an_id_of_ours_is_not_counted_upon_and_not_cancelled(roots: Roots, fake: FakeSlurm) -> None:
    send(roots, ["E"])
    render = len(fake.calls) - 1
    fake.show("100|RUNNING|None|9:00|thesis-simulation", f"10{render}|PENDING|None|0:00|thesis-plot")
    assert act.cancel(roots, known_tasks(roots, "table1/E")) == []
    assert len(fake.queue) == 2
    again = send(roots, ["E"])
    assert (again.queued, len(again.job_ids)) == (0, 3)
    assert "afterok:103" in fake.calls[4]


def test_what_is_being_ended_is_submitted_again_and_what_was_requeued_is_not(roots: Roots, fake: FakeSlurm) -> None:
    send(roots, ["E"])
    fake.show(f"100|COMPLETING|None|0:00|{name_of(roots, 0)}")  # requeued: has used no time
    assert send(roots, ["E"]).queued == 1
    fake.show(f"100|COMPLETING|None|15:04|{name_of(roots, 0)}")  # cancelled, and still saving
    assert send(roots, ["E"]).queued == 0
    assert act.cancel(roots, known_tasks(roots, "table1/E"))
    assert fake.queue == ["100"]


def test_jobs_of_a_row_whose_sampling_was_edited_since_can_be_cancelled(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send(roots, ["E"])
    file = roots.runs.parent / "jobs" / "table1.toml"
    file.parent.mkdir()
    theirs = (files.folders()[-1] / "table1.toml").read_text()
    monkeypatch.chdir(roots.runs.parent)
    for steps in (25, 26):
        file.write_text(f"{theirs}\n[row.E.sampling.sampler]\nsteps = {steps}\n")
        send(roots, ["E"])
    assert len(known_tasks(roots, "table1/E")) == 3
    assert main(["cancel", "table1/E"]) == 0
    assert fake.queue == []
    assert capsys.readouterr().out.split() == [str(number) for number in range(100, 107)]


def test_waiting_outlasts_a_scheduler_that_does_not_answer(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
    monkeypatch.setattr(slurm, "EVERY", 0.0)
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1", "--cluster", "a100", "--allow-dirty", "--rows", "E", "--wait"]) == 1
    assert "3 stages are not done, and nothing of them is in the queue" in capsys.readouterr().err
    assert len(asked) == 6


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_a_scheduler_that_does_not_answer_is_no_empty_queue(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The first question fails, as while a controller restarts; the next would be answered."""
    send(roots, ["E"])
    queued, squeue = fake.queue, fake.here / "squeue"
    answer = squeue.read_text()
    squeue.write_text(f"#!/bin/bash\nrm {squeue}.down 2>/dev/null && {{ echo timed out >&2; exit 1; }}\n{answer}")
    (fake.here / "squeue.down").touch()
    monkeypatch.chdir(roots.runs.parent)
    assert main([command, "table1/E"]) == 1
    said = capsys.readouterr().err
    assert "squeue failed" in said
    assert "timed out" in said
    assert fake.queue == queued
    by_hand = said.partition("by hand: ")[2].splitlines()[0]
    assert shlex.split(by_hand)[-1] == "%i|%T|%r|%M|%j", "no pipes for a shell"


def test_jobs_of_a_colleague_in_the_same_workplace_are_waited_for(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(roots, ["E"])
    theirs, listing = os.getuid() + 4321, fake.here / "squeue"
    body = listing.read_text().partition("\n")[2]
    listing.write_text(f'#!/bin/bash\n[[ ",$4," == *,{theirs},* ]] || exit 0\n{body}')
    assert next(row.state for row in look(roots, known_tasks(roots, "table1/E")).rows) == "failed"
    monkeypatch.setattr(journal, "submitters", lambda _: {theirs})
    assert [row.state for row in look(roots, known_tasks(roots, "table1/E")).rows] == ["queued"] * 3
    assert send(roots, ["E"]).job_ids == ()


def test_submitters_are_the_owners_of_submissions(roots: Roots, fake: FakeSlurm) -> None:
    assert journal.submitters(roots) == set()
    send(roots, ["E"])
    assert journal.submitters(roots) == {os.getuid()}


def test_nothing_runs_while_all_of_it_waits(roots: Roots, fake: FakeSlurm) -> None:
    """A measurement that was preempted spoke a moment ago; its job is in the queue again."""
    send(roots, ["E"])
    (task,) = [task for task in known_tasks(roots, "table1/E") if task.stage == "evaluate"]
    write_json(task.folder.progress("evaluate"), {"done": 1, "total": 9, "time": time.time()})
    assert look(roots, [task]).rows[0].state == "queued"
    fake.show(*[line.replace("PENDING", "RUNNING") for line in (fake.here / "queue").read_text().splitlines()])
    assert look(roots, [task]).rows[0].state == "running"


@pytest.mark.parametrize("name", ["100%j", "a:b", "a\\b", "a\nb"])
def test_a_path_that_means_something_else_to_a_job_is_refused(roots: Roots, fake: FakeSlurm, name: str) -> None:
    runs = roots.runs / name / "runs"
    with pytest.raises(UserError, match="cannot be told of this folder") as refusal:
        send(roots._replace(runs=runs), ["E"])
    assert repr(name[-2]) in str(refusal.value)
    assert fake.calls == []
    assert not runs.exists()


def test_jobs_get_the_job_files_and_nothing_else_of_their_folder(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emacs locks what is being edited by a link that leads nowhere."""
    theirs = roots.runs.parent / "jobs"
    (theirs / "clusters").mkdir(parents=True)
    (theirs / "clusters" / "mine.toml").write_text("# a profile\n")
    (theirs / "mine.toml").write_text("# a job\n")
    (theirs / "linked.toml").symlink_to(theirs / "mine.toml")
    (theirs / ".#mine.toml").symlink_to("me@host.1234")
    os.mkfifo(theirs / "pipe")
    monkeypatch.chdir(roots.runs.parent)
    made = send(roots, ["E"])
    copy = journal.folder(roots, made.session) / "jobs"
    copied = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir())
    assert copied == ["clusters/mine.toml", "linked.toml", "mine.toml"]
    assert (copy / "linked.toml").read_text() == "# a job\n"


def test_what_lies_in_a_folder_of_the_profiles_own_is_found_by_the_commands_that_are_named(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = roots.runs.parent
    monkeypatch.chdir(here)
    (here / "jobs" / "clusters").mkdir(parents=True)
    theirs = (files.folders()[-1] / "clusters" / "a100.toml").read_text()
    (here / "jobs" / "clusters" / "mine.toml").write_text(theirs.replace('\nruns = ""', f'\nruns = "{here}/elsewhere"'))
    asked = ["submit", "table1/E", "--allow-dirty", "--cluster"]
    assert main([*asked, "mine"]) == 0
    named = capsys.readouterr().err.partition("`hdit-repro ")[2].partition("`")[0]
    assert named == "status --cluster mine"
    assert main(named.split()) == 0
    assert "3 stages: 3 queued" in capsys.readouterr().err
    assert main([*asked, "a100"]) == 0
    assert "`hdit-repro status`" in capsys.readouterr().err


def test_a_queue_that_does_not_answer_may_hold_what_is_watched(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
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
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
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


def test_a_disk_that_is_read_only_is_refused_with_the_mend(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a disk refuses to delete as well, even what is not there."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UserError, match="folder of runs cannot be written") as refusal:
        send(roots, ["E"])
    assert "`runs` in the cluster's profile" in refusal.value.fix
    assert not (roots.runs / "submissions").exists()


def test_tables_of_a_cluster_are_rendered_by_its_last_job(
    roots: Roots, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    assert main(["submit", "table1/E", "--cluster", "a100", "--allow-dirty", "--no-tables"]) == 2
    assert "leave --no-tables out" in capsys.readouterr().err
    assert fake.calls == []


def test_what_a_stop_file_ended_says_so_and_can_be_retried(roots: Roots, fake: FakeSlurm) -> None:
    send(roots, ["E"])
    fake.end_all()
    tasks = known_tasks(roots, "table1/E")
    note_left(tasks[0].folder.progress("train"), "s/100")
    assert [(row.state, row.error) for row in look(roots, tasks).rows] == [
        ("failed", LEFT), ("missing", ""), ("missing", ""),
    ]  # fmt: skip
    assert [found.stages for found in act.failed(roots, tasks)] == [("table1/E train",)]


def test_a_folder_of_runs_that_cannot_be_is_refused_with_the_mend(roots: Roots, fake: FakeSlurm) -> None:
    (roots.runs / "file").write_text("in the way")
    with pytest.raises(UserError, match="folder of runs cannot be written") as refusal:
        send(roots._replace(runs=roots.runs / "file" / "runs"), ["E"])
    assert "`runs` in the cluster's profile" in refusal.value.fix
    assert fake.calls == []
