"""What it would cost to settle a claim by running its job, in hours of each kind of GPU. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hdit_repro.jobs import Job
from hdit_repro.jobs.submitting import submitting
from hdit_repro.launch.clusters import Cluster, Slurm, read_cluster
from hdit_repro.launch.price import price
from hdit_repro.records.layout import STAGES

PROFILES = ("a100", "h100")
"""The cluster profiles whose GPUs prices are given in."""


class Bill(NamedTuple):
    """GPU-hours of a job's three stages on one kind of GPU, and what they rest on."""

    gpu: str
    hours: dict[str, float]
    basis: str

    @property
    def total(self) -> float:
        return sum(self.hours.values())


class Bills:
    """Prices of jobs on the two kinds of GPU, each worked out once."""

    def __init__(self) -> None:
        self._clusters: list[Cluster] = []
        self._bills: dict[str, list[Bill]] = {}

    def of(self, job: Job) -> list[Bill]:
        """A bill for each profile.

        Raises:
            UserError: a profile is not understood.
        """
        if not self._clusters:
            self._clusters = [read_cluster(name) for name in PROFILES]
        key = f"{job.scale}/{job.name}"
        if key not in self._bills:
            self._bills[key] = [_bill(job, cluster) for cluster in self._clusters]
        return self._bills[key]

    def words(self, job: Job) -> str:
        """The job, both totals, how much of the first is training, and what it rests on."""
        bills = self.of(job)
        totals = " or ".join(f"{_hours(bill.total)} {bill.gpu}-hours" for bill in bills)
        training = f"{_hours(bills[0].hours['train'])} of the former for training"
        return f"job {job.name} would settle it: {totals}, {training} (basis: {bills[0].basis})"

    def many(self, job: Job, times: int) -> str:
        """The price of running a job so many times more."""
        return self.many_of((job,), times)

    def many_of(self, jobs: Sequence[Job], times: int) -> str:
        """The price of running each of some jobs so many times more, at the jobs' own scale; a stage that several share
        is run once."""
        if jobs[0].scale == "smoke":
            return self._here(jobs, times)
        stages = _stages(jobs)
        bills = zip(*(self.of(job) for job, _ in stages), strict=True)
        hours = [sum(b.hours[stage] for b, (_, stage) in zip(same, stages, strict=True)) for same in bills]
        names = [bill.gpu for bill in self.of(jobs[0])]
        return " or ".join(f"{_hours(times * total)} {gpu}-hours" for total, gpu in zip(hours, names, strict=True))

    def _here(self, jobs: Sequence[Job], times: int) -> str:
        """On one CPU of this machine."""
        cluster = read_cluster("local")
        hours = sum(price(job.run, stage, job.scale, cluster).hours for job, stage in _stages(jobs))
        return f"{60 * times * hours:,.0f} CPU-minutes"

    def steps(self, job: Job) -> tuple[str, ...]:
        """Stage by stage, and the command."""
        lines = []
        for bill in self.of(job):
            stages = ", ".join(f"{stage} {_hours(hours)}" for stage, hours in bill.hours.items())
            lines.append(f"{_hours(bill.total)} {bill.gpu}-hours: {stages}; {bill.basis}")
        return (*lines, submitting(job.name, "paper"))


def _stages(jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """The stages of some jobs, each with one of the jobs that share it."""
    found: dict[tuple[str, str], Job] = {}
    for job in jobs:
        for stage, key in zip(STAGES, (job.run.training_id, job.run.sampling_id, job.run.evaluation_id), strict=True):
            found.setdefault((stage, key), job)
    return [(job, stage) for (stage, _), job in found.items()]


def _bill(job: Job, cluster: Cluster) -> Bill:
    prices = {stage: price(job.run, stage, job.scale, cluster) for stage in STAGES}
    gpu = cluster.gpu if isinstance(cluster, Slurm) else "A100"
    hours = {stage: found.gpu_hours for stage, found in prices.items()}
    return Bill(gpu, hours, prices["train"].basis)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
