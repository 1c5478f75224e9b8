"""Why a stage is lost: what its latest job said, whatever an earlier one left. No scheduler."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import to_builtins

from hdit_repro.files import write_json
from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import LEFT, note_left, write_failure
from hdit_repro.launch.slurm import act, attempts, journal
from hdit_repro.launch.slurm.journal import Noted
from hdit_repro.launch.slurm.live import UNSEEN, look
from hdit_repro.launch.slurm.submit import Submitted
from hdit_repro.launch.status import known_tasks
from hdit_repro.records.layout import Roots

Send = Callable[[Roots, list[str]], Submitted]


def why(roots: Roots, stage: str) -> str:
    (found,) = [row for row in look(roots, known_tasks(roots, "table1/E")).rows if row.stage == stage]
    return found.error


def task_of(roots: Roots, stage: str) -> Task:
    (found,) = [task for task in known_tasks(roots, "table1/E") if task.stage == stage]
    return found


def lost(roots: Roots, fake: Any, send: Send) -> Submitted:
    """A submission whose jobs are gone."""
    made = send(roots, ["E"])
    fake.end_all()
    return made


def says(roots: Roots, made: Submitted, job: str, line: str, later: float = 0.0) -> None:
    """What a job printed itself, so many seconds from now."""
    own = journal.output(journal.folder(roots, made.session), job, "err")
    own.write_text(f"{line}\n")
    os.utime(own, (time.time() + later,) * 2)


@pytest.mark.parametrize("before", ["failed", "left"])
def test_a_later_job_counts_and_not_what_an_earlier_one_left(
    roots: Roots, fake: Any, send: Send, made_up: Any, before: str
) -> None:
    first = lost(roots, fake, send)
    train = Part(task_of(roots, "train").folder, "train")
    owner = f"{first.session}/100"
    if before == "failed":
        write_failure(train.failure, "no data", "", owner)
    else:
        note_left(train.progress, owner)
    assert why(roots, "train") == ("no data" if before == "failed" else LEFT)
    second = lost(roots, fake, send)
    assert why(roots, "train") == "job 103 is in the queue no more and left no result"
    says(roots, second, "103", "No module named 'torch'", later=5.0)
    assert why(roots, "train").endswith("; No module named 'torch'")
    write_failure(train.failure, "no room", "", f"{second.session}/103")
    assert why(roots, "train") == "no room"


def test_what_a_command_of_ones_own_met_after_the_job_counts(roots: Roots, fake: Any, send: Send) -> None:
    made = lost(roots, fake, send)
    says(roots, made, "100", "No module named 'torch'")
    train = Part(task_of(roots, "train").folder, "train")
    write_failure(train.failure, "no room here", "", "command/7")
    assert why(roots, "train") == "no room here"


def test_a_job_that_did_not_begin_again_counts(roots: Roots, fake: Any, send: Send) -> None:
    """It failed, was put back into the queue, and met a node where no Python begins."""
    made = lost(roots, fake, send)
    train = Part(task_of(roots, "train").folder, "train")
    write_failure(train.failure, "no data", "", f"{made.session}/100")
    says(roots, made, "100", "RuntimeError: no data", later=5.0)
    assert why(roots, "train") == "no data"
    says(roots, made, "100", "No module named 'torch'", later=300.0)
    assert why(roots, "train").endswith("; No module named 'torch'")


def test_a_pack_that_went_on_with_other_rows_hides_no_failure(roots: Roots, fake: Any, send: Send) -> None:
    made = lost(roots, fake, send)
    (entry,) = journal.journals(roots)
    entry.units[0].kind = "pack"
    journal.save(roots, entry)
    train = Part(task_of(roots, "train").folder, "train")
    write_failure(train.failure, "no data", "", f"{made.session}/100.0.1")
    says(roots, made, "100", "Job completed", later=9000.0)
    assert why(roots, "train") == "no data"


def in_three(roots: Roots) -> list[range]:
    """The samples as an array of three shards; returns their numbers."""
    (entry,) = journal.journals(roots)
    whole = entry.units[1].elements[0]
    ends = [(0, 20_000), (20_000, 40_000), (40_000, 50_000)]
    entry.units[1].elements = tuple(Noted(stages=whole.stages, numbers=span, after=whole.after) for span in ends)
    journal.save(roots, entry)
    return [range(*span) for span in ends]


def test_of_shards_the_one_that_is_missing_is_named(roots: Roots, fake: Any, send: Send, made_up: Any) -> None:
    lost(roots, fake, send)
    first, _, last = in_three(roots)
    folder = task_of(roots, "sample").folder
    made_up.leave_output(folder, "train")
    shards = [{"file": f"{one.start}", "first": one.start, "count": len(one)} for one in (first, last)]
    write_json(folder.manifest, {"complete": False, "shards": shards})
    for shard in shards:
        (folder.samples / str(shard["file"])).touch()
    assert why(roots, "sample") == "job 101_1 is in the queue no more and left no result"


def test_of_the_shards_that_may_measure_the_one_that_did_is_named(
    roots: Roots, fake: Any, send: Send, made_up: Any
) -> None:
    made = lost(roots, fake, send)
    in_three(roots)
    folder = task_of(roots, "evaluate").folder
    for stage in ("train", "sample"):
        made_up.leave_output(folder, stage)
    attempts.begin(Part(folder, "evaluate"), made.session, "101_0", 1, "it")  # and was killed
    says(roots, made, "101_0", "oom_kill event")
    assert why(roots, "evaluate") == "job 101_0 is in the queue no more and left no result; oom_kill event"


def test_what_ended_well_is_not_lost_while_a_file_server_may_hide_its_output(
    roots: Roots, fake: Any, send: Send
) -> None:
    made = lost(roots, fake, send)
    task = task_of(roots, "train")
    train = Part(task.folder, "train")
    attempts.begin(train, made.session, "100", 1, "it")
    attempts.end(train, "done")
    (row,) = look(roots, [task]).rows
    assert (row.state, row.error) == ("running", "")
    assert row.queue == "ended well, and its output cannot be seen from here yet"
    assert act.failed(roots, [task]) == []
    (attempt,) = attempts.read(train.attempts)
    attempt.ended -= 2 * UNSEEN
    write_json(train.attempts, [to_builtins(attempt)])
    assert why(roots, "train") == "job 100 is in the queue no more and left no result"
    assert len(act.failed(roots, [task])) == 1
