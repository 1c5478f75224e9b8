"""How a run is asked to leave: a signal, a time limit, a stop file. No torch."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from hdit_repro.errors import RunError

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
"""What schedulers send before they end a job, and Ctrl-C. NCCL catches USR1 itself."""

ECHO = 1.0
"""Seconds in which an INT may come twice for one Ctrl-C: from the terminal, and passed on by torchrun."""


class Preempted(RunError):
    """The run was asked to leave: its step is finished and saved, and the same command goes on from there.

    `signum` is the signal that asked, or None. Exit code 75 (EX_TEMPFAIL) when run by hand or under torchrun.
    """

    exit_code = 75
    signum: int | None = None


class Stop:
    """Notes that the run is asked to leave; look at `reason` after each step.

    As a context it catches USR2, TERM and INT (in the main thread; elsewhere signals are left alone) and gives the
    handlers back at its end, so that whoever had them before can be told then: `signal.raise_signal(stop.signum)`. A
    second INT, later than its echo, does not wait for the step: it is a KeyboardInterrupt. A USR2 is not forgotten over
    the TERM that follows where the save takes long: it alone says that the job is to come back. Each is acknowledged on
    stderr when it is noted, for a step may take minutes.

    Args:
        file: leave when this file exists; it is removed by `answered`.
        seconds: leave after so many seconds from the context's start; 0 is never.
        tells: whether signals are acknowledged; of several processes one does.
    """

    def __init__(self, file: Path | None = None, seconds: float = 0.0, tells: bool = True) -> None:
        self.file, self.seconds, self.tells = file, seconds, tells
        self.signum: int | None = None
        self._began = self._asked = time.monotonic()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        self._began = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.signum == signal.SIGINT and time.monotonic() - self._asked > ECHO:
            raise KeyboardInterrupt
        if number == signal.SIGTERM and self.signum == signal.SIGUSR2:
            return
        if number != self.signum and self.tells:
            _acknowledge(number)
        self.signum, self._asked = number, time.monotonic()

    @property
    def reason(self) -> str:
        """Why to leave, or an empty string."""
        if self.signum is not None:
            return f"signal {signal.Signals(self.signum).name}"
        if self.seconds and time.monotonic() - self._began >= self.seconds:
            return f"the time limit of {self.seconds:g} s"
        if self.file is not None and self.file.exists():
            return f"the stop file {self.file}"
        return ""

    def answered(self) -> None:
        """The run is saved and leaves: take the stop file away, so that the next start is not stopped again."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def _acknowledge(number: int) -> None:
    """Say that a signal was heard. Past Python's own stream, which whatever the signal interrupts may be writing to."""
    text = f"asked to leave by {signal.Signals(number).name}: this step is finished and saved first"
    if number == signal.SIGINT:
        text += "; Ctrl-C once more leaves now, and loses what came after the last checkpoint"
    begin = "\n" if os.isatty(2) else ""  # behind a bar, or what the terminal makes of Ctrl-C
    with contextlib.suppress(OSError):  # nobody reads any more
        os.write(2, f"{begin}{text}\n".encode())
