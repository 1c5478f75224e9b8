"""A submission is whole or not there: sbatch that refuses half-way, a disk that fills up. No scheduler."""

from __future__ import annotations

import errno
import os
import pickletools
from collections.abc import Callable
from shlex import quote
from typing import Any

import msgspec
import pytest
from submitit.core.utils import DelayedSubmission

from hdit_repro.cli.app import main
from hdit_repro.errors import RunError
from hdit_repro.files import write_bytes
from hdit_repro.jobs import files
from hdit_repro.launch.clusters import read_cluster
from hdit_repro.launch.graph import tasks_for
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.progress import write_failure
from hdit_repro.launch.slurm import act, executor, journal
from hdit_repro.launch.slurm.draft import draft, scripts
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import Submitted, _function
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]
States = Callable[[Roots], list[str]]


def test_a_whole_submission_is_in_the_queue_in_order_and_once(
    roots: Roots, fake: Any, send: Send, states: States
) -> None:
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
    roots: Roots, fake: Any, call: int, send: Send, states: States
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
    roots: Roots,
    fake: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    send: Send,
) -> None:
    """The second sbatch times out though its job is taken, and so does squeue after it."""
    with monkeypatch.context() as patch:
        squeue, sbatch = fake.here / "squeue", fake.here / "sbatch"
        answers, takes = squeue.read_text(encoding="utf-8"), sbatch.read_text(encoding="utf-8")
        hung = quote(str(fake.here / "hung"))
        sbatch.write_text(
            f"{takes}[ $number = 1 ] && touch {hung} && echo timed out >&2 && exit 1 || exit 0\n", encoding="utf-8"
        )
        squeue.write_text(f"#!/bin/bash\n[ ! -e {hung} ] || exit 1\n{answers}", encoding="utf-8")
        with pytest.raises(RunError, match="failed half-way, and SLURM did not answer") as told:
            send(roots, ["E"])
        assert "timed out; in the queue: jobs 100, and the one that was being submitted" in str(told.value.found)
        squeue.write_text(answers, encoding="utf-8")
        sbatch.write_text(takes, encoding="utf-8")
        patch.chdir(roots.runs.parent)
        assert fake.queue[0] == "100"
        assert len(fake.queue) > 1
        if command == "cancel":
            assert main(["cancel", "table1/E"]) == 0
            assert fake.queue == []
        else:
            assert send(roots, ["E"]).queued == 1
            assert not [job_id for job_id in fake.queue if job_id.startswith("101")]


FULL = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_quota_that_is_full_half_way_leaves_no_job(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, at: int, send: Send
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
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send, states: States
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


def test_a_job_can_be_read_by_another_python(roots: Roots, fake: Any, send: Send) -> None:
    """Of a container: 3.13 calls the class of a path pathlib._local.PosixPath, which 3.12 does not know."""
    made = send(roots, ["E"])
    path = journal.folder(roots, made.session) / "100_submitted.pkl"
    assert DelayedSubmission.load(path).function.tasks[0].folder.roots == roots
    names = [name for _, name, _ in pickletools.genops(path.read_bytes()) if isinstance(name, str)]
    assert str(roots.runs) in names
    assert not [name for name in names if name.startswith("pathlib")]


def test_jobs_are_told_the_threads_and_the_batch_of_the_profile(roots: Roots, fake: Any, send: Send) -> None:
    made = send(roots, ["E"])
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    (dumped,) = (journal.folder(roots, made.session)).glob("100_submitted.pkl")
    told = DelayedSubmission.load(dumped)
    assert (told.function.settings.threads, told.function.settings.batch) == (8, 64)
    assert (profile.cpus_per_gpu, profile.sample_batch) == (8, 64)
    assert told.function.gpus == profile.train_gpus
    assert told._timeout_countdown >= 3


def test_a_job_has_as_many_threads_as_the_raw_parameter_gives_it_cpus(roots: Roots) -> None:
    profile = read_cluster("a100")
    assert isinstance(profile, Slurm)
    fewer = msgspec.structs.replace(profile, sbatch={"cpus_per_task": "3"})
    planned = draft(wanted("table1", "paper", ["E"]), roots, fewer, {}, allow_dirty=True)
    assert {_function(planned, element, None).settings.threads for element in planned.elements} == {3}
    assert all("OMP_NUM_THREADS=3" in script.text for script in scripts(planned))


def test_scripts_are_shown_where_the_queue_cannot_be_asked(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(roots.runs.parent)
    why = "slurm_load_jobs error: Unable to contact slurm controller"
    (fake.here / "squeue").write_text(f"#!/bin/bash\necho {why!r} >&2\nexit 1\n", encoding="utf-8")
    assert main(["submit", "table1/E", "--cluster", "a100", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out.count("#SBATCH --job-name=") == 3
    assert f"squeue failed ({why}): the queue is taken to be empty" in " ".join(said.err.split())
    assert fake.calls == []


def test_retry_sends_every_row_of_a_training_that_failed_and_asks_as_submit_does(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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


def test_retry_says_so_where_another_terminal_was_quicker(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looked before the other had submitted, and printed stages that it then left alone."""
    monkeypatch.chdir(roots.runs.parent)
    again = ["retry", "table1/E", "--allow-dirty", "--yes"]
    assert main(["submit", "table1/E", "--cluster", "a100", "--allow-dirty", "--yes"]) == 0
    fake.end_all()
    write_failure(tasks_for(wanted("table1", "paper", ["E"]), roots)[0].folder.failure("train"), "boom", "boom", "x")
    looked = act.failed

    def and_then_the_other(*given: Any) -> Any:
        found = looked(*given)
        monkeypatch.setattr(act, "failed", looked)
        assert main(again) == 0
        capsys.readouterr()
        return found

    monkeypatch.setattr(act, "failed", and_then_the_other)
    assert main(again) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing new to submit: " in said.err
    assert " in the queue" in said.err


def test_jobs_of_a_row_whose_sampling_was_edited_since_can_be_cancelled(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], send: Send
) -> None:
    send(roots, ["E"])
    file = roots.runs.parent / "jobs" / "table1.toml"
    file.parent.mkdir()
    theirs = (files.folders()[-1] / "table1.toml").read_text(encoding="utf-8")
    monkeypatch.chdir(roots.runs.parent)
    for steps in (25, 26):
        file.write_text(f"{theirs}\n[row.E.sampling.sampler]\nsteps = {steps}\n", encoding="utf-8")
        send(roots, ["E"])
    assert len(known_tasks(roots, "table1/E")) == 3
    assert main(["cancel", "table1/E"]) == 0
    assert fake.queue == []
    assert capsys.readouterr().out.split() == [str(number) for number in range(100, 107)]


def test_jobs_get_the_job_files_and_nothing_else_of_their_folder(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    """Emacs locks what is being edited by a link that leads nowhere."""
    theirs = roots.runs.parent / "jobs"
    (theirs / "clusters").mkdir(parents=True)
    (theirs / "clusters" / "mine.toml").write_text("# a profile\n", encoding="utf-8")
    (theirs / "mine.toml").write_text("# a job\n", encoding="utf-8")
    (theirs / "linked.toml").symlink_to(theirs / "mine.toml")
    (theirs / ".#mine.toml").symlink_to("me@host.1234")
    os.mkfifo(theirs / "pipe")
    monkeypatch.chdir(roots.runs.parent)
    made = send(roots, ["E"])
    copy = journal.folder(roots, made.session) / "jobs"
    copied = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir())
    assert copied == ["clusters/mine.toml", "linked.toml", "mine.toml"]
    assert (copy / "linked.toml").read_text(encoding="utf-8") == "# a job\n"


def test_what_lies_in_a_folder_of_the_profiles_own_is_found_by_the_commands_that_are_named(
    roots: Roots, fake: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = roots.runs.parent
    monkeypatch.chdir(here)
    (here / "jobs" / "clusters").mkdir(parents=True)
    theirs = (files.folders()[-1] / "clusters" / "a100.toml").read_text(encoding="utf-8")
    (here / "jobs" / "clusters" / "mine.toml").write_text(
        theirs.replace('\nruns = ""', f'\nruns = "{here}/elsewhere"'), encoding="utf-8"
    )
    asked = ["submit", "table1/E", "--allow-dirty", "--cluster"]
    assert main([*asked, "mine"]) == 0
    named = capsys.readouterr().err.splitlines()[-1].partition("`hdit-repro ")[2].partition("`")[0]
    assert named == "status --cluster mine"
    assert main(named.split()) == 0
    assert "3 stages: 3 queued" in capsys.readouterr().err
    assert main([*asked, "a100"]) == 0
    assert "`hdit-repro status`" in capsys.readouterr().err


def test_the_id_is_the_one_of_sbatchs_own_line(roots: Roots, fake: Any, send: Send) -> None:
    """A wrapper of a site may say more: jobs of another id would be waited for, cancelled, and sent once more."""
    script = fake.here / "sbatch"
    script.write_text(
        script.read_text(encoding="utf-8").replace("#!/bin/bash", "#!/bin/bash\necho 'welcome: your job 17 of 40'", 1),
        encoding="utf-8",
    )
    assert send(roots, ["E"]).job_ids == ("100", "101", "102")


def test_an_sbatch_that_is_killed_without_a_word_is_told_so(roots: Roots, fake: Any, send: Send) -> None:
    (fake.here / "sbatch").write_text('#!/bin/bash\n[ "$1" = --test-only ] || kill -9 $$\n', encoding="utf-8")
    with pytest.raises(RunError, match="sbatch refuses") as refusal:
        send(roots, ["E"])
    assert refusal.value.found == "it ended without a word"
