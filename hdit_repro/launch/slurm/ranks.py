"""Why a process of a training failed, handed to the first one, which knows no more than that it is gone. No torch."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

from hdit_repro.errors import RunError
from hdit_repro.files import write_bytes
from hdit_repro.launch.part import Part


def leave(part: Part, job: str, rank: int, error: Exception) -> None:
    """Keep the error of a process for the first one of the same start of the job."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # not every library's errors can be pickled
        data = pickle.dumps(_in_words(error, rank))
    write_bytes(_path(part, job, str(rank)), data)


def _in_words(error: Exception, rank: int) -> RunError:
    return RunError(
        "a process of the run failed",
        found=f"{type(error).__name__} in process {rank}: {error}",
        expected="every process to come to the end of the step",
        fix="its traceback is in the log of that process",
    )


def cause(part: Part, job: str, patience: float) -> Exception | None:
    """What another process left, once: it may come a little later than the loss of it. None where nothing comes.

    Args:
        part: what the processes work on.
        job: the job's id.
        patience: seconds to wait at most.
    """
    pattern, deadline = _path(part, job, "*"), time.monotonic() + patience
    while True:
        if found := sorted(pattern.parent.glob(pattern.name)):
            error: Exception = pickle.loads(found[0].read_bytes())
            for path in found:
                path.unlink(missing_ok=True)
            return error
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.2)


def _path(part: Part, job: str, rank: str) -> Path:
    start = f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    return part.failure.with_name(f"{part.name}.{start}.process-{rank}.pickle")
