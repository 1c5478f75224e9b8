"""The render at the end of a graph: a command, run by the jobs' own interpreter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from hdit_repro.launch.submit import check_rendered


@dataclass(frozen=True)
class RenderJob:
    """Runs `python -m` with the command in the job.

    Attributes:
        command: what follows `-m`.
    """

    command: tuple[str, ...]

    def __call__(self) -> int:
        command = (sys.executable, "-m", *self.command)
        check_rendered(command, subprocess.run(command, check=False).returncode)
        return 0
