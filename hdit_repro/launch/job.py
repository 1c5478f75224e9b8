"""What a job executes: stages, one after another, each by one process at a time. No torch until a stage needs it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from hdit_repro.errors import RunError
from hdit_repro.files import is_locked, lock
from hdit_repro.jobs import Job
from hdit_repro.launch.describe import described
from hdit_repro.launch.graph import Task, required, unsettled
from hdit_repro.launch.kept import kept
from hdit_repro.launch.part import Part
from hdit_repro.launch.progress import LEFT, Writer, for_log, note_failure, note_left, read_failure, read_progress
from hdit_repro.records.layout import RunFolder
from hdit_repro.stages.settings import Report, Settings
from hdit_repro.training.signals import Preempted

StageFunction = Callable[[Job, RunFolder, Settings, Report], object]
Outcome = Literal["done", "failed", "busy"]

Around = Callable[[Task, Part], contextlib.AbstractContextManager[None]]
"""Entered under a stage's lock, before anything of it is written, for as long as it runs."""

POLL = 0.3
"""Seconds between two looks at what other processes hold."""
PATIENCE = 10.0
"""Seconds that an interrupted worker gets to end, a training to save."""


def default_stages() -> Mapping[str, StageFunction]:
    """The three stages of the suite. This is where torch comes in."""
    from hdit_repro.stages import evaluate, sample, train

    return {"train": train.run, "sample": sample.run, "evaluate": evaluate.run}


def execute(
    task: Task,
    function: Callable[..., object],
    settings: Settings,
    *,
    owner: str,
    onward: Report | None = None,
    wait: bool = True,
    numbers: range | None = None,
    around: Around | None = None,
) -> bool:
    """Run one stage under its lock, unless it is done, and keep its progress on disk.

    Args:
        task: the stage.
        function: what runs it; gets `numbers` too where they are given.
        settings: what cannot change its numbers.
        owner: who runs it, for the progress file.
        onward: gets every progress besides the file.
        wait: whether to wait for another process that runs the stage now.
        numbers: of samples, where only those are to be drawn; such a part has a lock and files of its own.
        around: what is to be known of when it runs and how it ends; None is nothing.

    Returns:
        False when `wait` is off and another process runs it, else True: it is done.

    Raises:
        Preempted: it was asked to leave, which is no failure.
        RunError: the stage ended and left no output.
        Exception: whatever the stage raised; it is kept in the failure file too.
    """
    part = Part(task.folder, task.stage, numbers)
    only = {} if numbers is None else {"numbers": numbers}
    with _turn(task, part, wait) as held:
        if not held:
            return False
        part.failure.unlink(missing_ok=True)
        if part.done():
            return True
        settings = settings_for(task, settings)
        try:
            with around(task, part) if around is not None else contextlib.nullcontext():
                function(task.job, task.folder, settings, Writer(part.progress, owner, onward), **only)
                if not part.done():
                    raise RunError(
                        f"{task.stage} of {task.name} ended without its output",
                        found=str(task.folder.path),
                        expected=part.name,
                        fix=f"`hdit-repro logs {task.name}` prints what it said; the same command tries again",
                    )
        except Preempted as asked:
            if asked.signum is None:
                note_left(part.progress, owner)
            raise
        except Exception as error:
            note_failure(part.failure, error, owner)
            raise
        return True


@contextlib.contextmanager
def _turn(task: Task, part: Part, wait: bool) -> Iterator[bool]:
    """The lock of a stage; says so where it has to be waited for, which may be for ever: some file servers keep the
    lock of a node that died."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(lock(part.lock, wait=False))
        if wait and not held:
            words = f"{task.stage} of {task.name} is waited for: another process holds {part.lock}"
            print(words, file=sys.stderr, flush=True)
            held = stack.enter_context(lock(part.lock))
        yield held


def settings_for(task: Task, settings: Settings) -> Settings:
    """The settings of a stage: a training keeps what the samples of the rows that share it will be drawn from, of those
    too that were asked for at another time."""
    if task.stage != "train":
        return settings
    asked = kept((*task.jobs, *described(task.folder.description)), settings.training)
    steps, decays = tuple(sorted(asked.steps)), tuple(sorted(asked.decays))
    wanted = msgspec.structs.replace(settings.training, snapshots=steps, ema_decays=decays)
    return replace(settings, training=wanted)


@contextlib.contextmanager
def into_log(path: Path, title: str) -> Iterator[None]:
    """Send what this process prints to the end of a log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        print(f"== {datetime.now(UTC).isoformat(timespec='seconds')} {title}", file=file)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield


@dataclass(frozen=True)
class StageChain:
    """The picklable callable that a worker runs: it takes the next stage that nobody has, until none is left.

    Several workers with the same tasks share the work; rows that fail, or are asked to leave by a file, hold up nothing
    but themselves, and a stage that any other process runs is waited for, not run twice.

    Attributes:
        tasks: the stages, the most urgent row first, within a row in order.
        settings: what cannot change numbers.
        session: the submission's name; what fails or is asked to leave in it is not tried again in it.
        worker: this worker's name within the session.
        stages: what runs each stage; None is the suite's own.
        leash: a file that the submitter keeps locked; when it lets go, the worker is interrupted. None is no leash.
        environment: variables to set (None unsets one) before a stage is imported.
        around: see `execute`.
        deadline: by the system's clock (`time.time()`), when nothing more is begun and a training saves; 0 is
            never.
        finish: a command for the worker that finds everything done, under the lock of that name; None is none.
    """

    tasks: tuple[Task, ...]
    settings: Settings
    session: str
    worker: str = "0"
    stages: Mapping[str, StageFunction] | None = None
    leash: Path | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    around: Around | None = None
    finish: tuple[str, ...] | None = None
    deadline: float = 0.0

    @property
    def late(self) -> bool:
        """Whether the deadline is past."""
        return bool(self.deadline) and time.time() >= self.deadline

    @property
    def owner(self) -> str:
        return f"{self.session}/{self.worker}"

    def __call__(self) -> dict[str, list[str]]:
        """Work until each stage is done, failed, asked to leave or held up; returns the keys done and failed."""
        self._prepare()
        functions = self.stages
        while not self.late and (left := self.open()):
            if functions is None:
                functions = default_stages()
            if not any(self._attempt(task, functions) for task in left if task.ready):
                time.sleep(POLL)
        failed = [task.key for task in self.tasks if self.failed(task)]
        open_keys = {task.key for task in required(self.tasks)}
        if not open_keys and self.finish is not None:
            self._finish()
        return {"done": [task.key for task in self.tasks if task.key not in open_keys], "failed": failed}

    def failed(self, task: Task) -> bool:
        """Whether the stage failed in this session."""
        owner = str(read_failure(task.folder.failure(task.stage)).get("owner", ""))
        return owner.startswith(f"{self.session}/") and not task.folder.done(task.stage)

    def left(self, task: Task) -> bool:
        """Whether the stage was asked to leave in this session; by a signal too, where somebody waits for it."""
        seen = read_progress(task.folder.progress(task.stage))
        return seen.note == LEFT and seen.owner.startswith(f"{self.session}/") and not task.folder.done(task.stage)

    def open(self) -> list[Task]:
        """What can still come to an end in this session."""
        return unsettled(self.tasks, lambda task: self.failed(task) or self.left(task))

    def _attempt(self, task: Task, functions: Mapping[str, StageFunction]) -> bool:
        """Try a stage; True when something came of it, so that the list is to be looked at again from its top."""
        if is_locked(task.folder.lock(task.stage)):
            return False
        with into_log(task.folder.log(task.stage), f"{task.stage} {task.name}, {self.owner}"):
            try:
                function, how = functions[task.stage], self._timed()
                return execute(task, function, how, owner=self.owner, wait=False, around=self.around)
            except Preempted as asked:
                if asked.signum is not None:
                    if self.leash is not None:  # whoever waits is to know that it is saved, and not lost
                        note_left(task.folder.progress(task.stage), self.owner)
                    raise
                print(asked)
                return True
            except Exception as error:
                print(for_log(error), file=sys.stderr)
                if task.folder.done(task.stage):
                    print(f"{task.stage} of {task.name} is done; what failed came after its output")
                elif not self.failed(task):
                    raise  # it could not be noted, and would be tried for ever
                return True

    def _timed(self) -> Settings:
        """The settings, with what is left until the deadline as the limit of a training."""
        if not self.deadline:
            return self.settings
        return replace(self.settings, time_limit=max(self.deadline - time.time(), 0.001))

    def _prepare(self) -> None:
        for name, value in self.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self.leash is not None:
            threading.Thread(target=_watch, args=(self.leash,), daemon=True).start()

    def _finish(self) -> None:
        """Two workers may find everything done; the second one's turn changes nothing."""
        assert self.finish is not None
        roots = self.tasks[0].folder.roots
        with lock(roots.runs / "submissions" / "finish.lock"):
            subprocess.run(self.finish, check=False, stdout=sys.stdout, stderr=sys.stderr)


def _watch(leash: Path) -> None:
    """End this process when the submitter has let go, killed perhaps: as Ctrl-C does, so that a training saves, and
    after PATIENCE whatever it does. Every file of a stage is whole or absent at any time."""
    held = True
    while held:
        time.sleep(POLL)
        with contextlib.suppress(OSError):  # a file server that stumbles is asked again
            held = is_locked(leash)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os._exit(1)


def by_urgency(tasks: Sequence[Task], hours: Mapping[str, float]) -> tuple[Task, ...]:
    """Tasks reordered so that the rows with the most hours left come first; within a row the order stays.

    Args:
        tasks: stages in an order in which they can be run.
        hours: what each key is expected to take.
    """
    weight: dict[str, float] = {}
    for task in tasks:
        weight[task.folder.run.id] = weight.get(task.folder.run.id, 0.0) + hours.get(task.key, 0.0)
    return tuple(sorted(tasks, key=lambda task: -weight[task.folder.run.id]))
