"""Which averages of the weights a training keeps besides its own. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import UNSET

from hdit_repro.jobs import Job
from hdit_repro.stages.settings import HowToTrain


class Kept(NamedTuple):
    """`decays` of further averages, and `steps` after which all averages are written down to stay."""

    decays: frozenset[float] = frozenset()
    steps: frozenset[int] = frozenset()


NOTHING = Kept()


def kept(jobs: Sequence[Job], how: HowToTrain) -> Kept:
    """What the rows that share a training and the profile's settings together ask it to keep."""
    asked = [job.run.sampling for job in jobs]
    decays = {*how.ema_decays, *(one.ema_decay for one in asked if one.ema_decay is not UNSET)}
    steps = {*how.snapshots, *(one.at_step for one in asked if one.at_step is not UNSET)}
    return Kept(frozenset(decays), frozenset(steps))
