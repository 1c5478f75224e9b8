"""The render at the end of a graph: a command, run by the jobs' own interpreter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from hdit_repro.errors import RunError


@dataclass(frozen=True)
class RenderJob:
    """Runs `python -m` with the command in the job.

    Attributes:
        command: what follows `-m`.
    """

    command: tuple[str, ...]

    def __call__(self) -> int:
        done = subprocess.run([sys.executable, "-m", *self.command], check=False)
        if done.returncode:
            raise RunError(
                "the tables could not be rendered",
                found=f"exit code {done.returncode}",
                expected=" ".join(self.command),
                fix="run that command by hand: it says what is wrong",
            )
        return done.returncode
