"""What the stages of many runs cost on one cluster: runs that differ in their seed alone are priced once. No torch."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from hdit_repro.jobs import Job
from hdit_repro.launch.clusters import Cluster, card_of
from hdit_repro.launch.price import YARDSTICK_CARD, Price, disk, price
from hdit_repro.launch.room import NOWHERE, Room, room


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

    def of(self, job: Job, stage: str) -> Bill:
        """What a stage ("train", "sample", "evaluate") of a row costs."""
        run = job.run
        alike = (stage, job.scale, run.model, run.data, run.diffusion, run.training, run.sampling, run.evaluation)
        if alike not in self._made:
            self._made[alike] = self._make(job, stage)
        return self._made[alike]

    def _make(self, job: Job, stage: str) -> Bill:
        cost = price(job.run, stage, job.scale, self._cluster)
        card = (self._card or YARDSTICK_CARD) if cost.gpus else ""
        taken = room(job.run, card, max(1, cost.gpus)) if stage == "train" else NOWHERE
        return Bill(cost, disk(job.run, stage), taken)
