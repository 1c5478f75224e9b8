"""What the stages of many runs cost on one cluster: runs that differ in their seed alone are priced once. No torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from hdit_repro.jobs import Job
from hdit_repro.launch.clusters import Cluster, card_of
from hdit_repro.launch.kept import NOTHING, Kept, kept
from hdit_repro.launch.price import YARDSTICK_CARD, Price, disk, price
from hdit_repro.launch.room import NOWHERE, Room, room
from hdit_repro.records.imported import is_imported


class Bill(NamedTuple):
    """Of one stage: hours, bytes that it leaves, what a step takes of a card's memory."""

    price: Price
    disk: int
    room: Room


class Bills:
    """The bills of a cluster, each made when it is first asked for.

    Args:
        cluster: where the stages run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._card = card_of(cluster)
        self._made: dict[Hashable, Bill] = {}

    def of(self, job: Job, stage: str, sharing: Sequence[Job] = (), real: int | None = None) -> Bill:
        """What a stage ("train", "sample", "evaluate") of a row costs.

        Args:
            job: the row.
            stage: of it.
            sharing: all rows that share the stage, whose samples may be of further averages; none is the row alone.
            real: images of the reference that evaluation measures; None is all that it needs.
        """
        run, beside = job.run, NOTHING
        if stage == "train":
            beside = kept(sharing or (job,), self._cluster.training)
        parts = (run.model, run.data, run.diffusion, run.training, run.sampling, run.evaluation, run.external)
        alike = (stage, job.scale, beside, real, *parts)
        if alike not in self._made:
            self._made[alike] = self._make(job, stage, beside, real)
        return self._made[alike]

    def _make(self, job: Job, stage: str, beside: Kept, real: int | None) -> Bill:
        cost = price(job.run, stage, job.scale, self._cluster, real)
        card = (self._card or YARDSTICK_CARD) if cost.gpus else ""
        taken = NOWHERE
        if stage == "train" and not job.run.external and not is_imported(job.run):
            how = self._cluster.training
            taken = room(job.run, card, max(1, cost.gpus), how, averages=1 + len(beside.decays))
        return Bill(cost, disk(job.run, stage, beside), taken)
