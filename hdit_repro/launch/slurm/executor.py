"""submitit's SLURM executor, with whole units: scripts as text without a scheduler, dependencies, arrays, omissions."""

from __future__ import annotations

import io
import os
import pickle
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from hdit_repro.errors import RunError
from hdit_repro.files import write_bytes
from hdit_repro.launch.slurm.script import unwanted, without


class Pickler(pickle.Pickler):
    """Writes paths as text: Python 3.13 names their class as no other version does, and a container that runs the job
    may have another."""

    def reducer_override(self, value: object) -> Any:
        """How a path is made again; anything else as ever."""
        return (as_path, (str(value),)) if isinstance(value, Path) else NotImplemented


def as_path(text: str) -> Path:
    """A path from its text, called where a job is read."""
    return Path(text)


class Executor(SlurmExecutor):  # type: ignore[misc]
    """One unit: its script, and its submission as one call of sbatch.

    Args:
        folder: the submission's own.
        parameters: of the script, as submitit names them.
        size: elements; more than one makes an array.
        time_outs: how often a job may be requeued at the end of its time.
        python: what starts Python; empty is this interpreter.
        omit: parameters to leave out.
        after: arguments of sbatch for what must have ended before.
    """

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, Any],
        size: int,
        *,
        time_outs: int = 3,
        python: str = "",
        omit: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, max_num_timeout=time_outs, python=python or None)
        self.omit, self.after, self.size = tuple(omit), tuple(after), size
        self.update_parameters(**parameters)
        if size > 1:
            self.parameters["map_count"] = size

    @classmethod
    def affinity(cls) -> int:
        """Scripts can be made where there is no SLURM."""
        return 2

    @property
    def text(self) -> str:
        """The script that `submit_unit` hands to sbatch."""
        return self._make_submission_file_text(self._submitit_command_str, "")

    def submit_unit(self, functions: Sequence[Callable[[], object]]) -> str:
        """Submit a callable an element; returns the id of the job or of the array.

        Raises:
            RunError: sbatch refuses; the message has its own.
        """
        assert len(functions) == self.size
        folder = Path(self.folder)
        pickles = [self._dump(function) for function in functions]
        try:
            first = self._submit_command(self._submitit_command_str)
        except (FailedJobError, FailedSubmissionError) as error:
            raise RunError(
                "sbatch refuses a job",
                found=" ".join(str(error).split()) or "it ended without a word",
                expected=f"{self.parameters['job_name']} in the queue",
                fix="mend the cluster's profile in jobs/clusters/ (`hdit-repro cluster check NAME` tries it); "
                "where SLURM was only busy, run the same command again",
            ) from error
        for place, dumped in enumerate(pickles):
            own = first.job_id if self.size == 1 else f"{first.job_id}_{place}"
            dumped.rename(folder / f"{own}_submitted.pkl")
        return str(first.job_id)

    def _dump(self, function: Callable[[], object]) -> Path:
        """What the job will unpickle, whole: a disk that is full is found here, before sbatch is called."""
        delayed = DelayedSubmission(function)
        delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
        path = Path(self.folder) / f"{uuid.uuid4().hex}.pkl"
        text = io.BytesIO()
        Pickler(text, pickle.HIGHEST_PROTOCOL).dump(delayed)
        write_bytes(path, text.getvalue())
        return path

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        """The id in sbatch's own line: a site's greeting before it may speak of jobs too."""
        text = string if isinstance(string, str) else string.decode(errors="replace")
        said = re.findall(r"^Submitted batch job (\d+)", text, re.MULTILINE)
        return str(said[-1] if said else SlurmExecutor._get_job_id_from_submission_command(text))

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return without(str(super()._make_submission_file_text(command, uid)), self.omit)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        hidden = [f"--unset={name}" for name in unwanted(self.text, os.environ)]
        return ["env", *hidden, "sbatch", *self.after, str(submission_file_path)]
