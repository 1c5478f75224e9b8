"""The workbench of the audit: runs by name, their networks at a resolution, their costs, each worked out once."""

from __future__ import annotations

from collections.abc import Mapping

from hdit_repro import jobs
from hdit_repro.audit.computed import Impossible
from hdit_repro.cost import Cost, at_resolution, count
from hdit_repro.jobs import Job
from hdit_repro.paper import Ledger
from hdit_repro.spec.model import Model
from hdit_repro.spec.run import Run


class Bench:
    """What the checks look at: the ledger, and every job at paper scale.

    `changed` are runs that stand in for the job's own, by the job's name: how a job would be under another reading.
    """

    def __init__(
        self, ledger: Ledger, changed: Mapping[str, Run] | None = None, found: dict[str, Job] | None = None
    ) -> None:
        self.ledger = ledger
        self._changed = dict(changed or {})
        self._jobs: dict[str, Job] = {} if found is None else found
        self._costs: dict[tuple[str, int], Cost] = {}

    def with_run(self, name: str, run: Run) -> Bench:
        """The same bench with another run in the place of a job's."""
        return Bench(self.ledger, {**self._changed, self.job(name).name: run}, self._jobs)

    def job(self, name: str) -> Job:
        """A job at paper scale, as its file has it.

        Raises:
            UserError: there is none, or its file is not understood.
        """
        if name not in self._jobs:
            self._jobs[name] = jobs.find(name)
        return self._jobs[name]

    def run(self, name: str) -> Run:
        """The run of a job, or what stands in for it."""
        job = self.job(name)
        return self._changed.get(job.name, job.run)

    def model(self, name: str, resolution: int | None) -> Model:
        """The network of a job, adapted to a resolution (pixels a side) as `cost.at_resolution` has it.

        Raises:
            Impossible: it does not fit that resolution.
        """
        model = self.run(name).model
        if resolution is None or resolution == model.resolution:
            return model
        try:
            return at_resolution(model, resolution)
        except ValueError as error:
            raise _misfit(name, resolution, error) from error

    def cost(self, name: str, resolution: int | None = None) -> Cost:
        """MACs and parameters of a job's network at a resolution; None is its own.

        Raises:
            Impossible: it does not fit that resolution.
        """
        model = self.model(name, resolution)
        key = (name, model.resolution)
        if key not in self._costs:
            try:
                self._costs[key] = count(model, model.resolution)
            except ValueError as error:
                raise _misfit(name, model.resolution, error) from error
        return self._costs[key]


def _misfit(name: str, resolution: int, error: ValueError) -> Impossible:
    return Impossible(
        f"{name} cannot be made for images of {resolution} x {resolution} pixels",
        found=str(error),
        expected="a size that patches, merges, kernels and windows divide or fit",
    )
