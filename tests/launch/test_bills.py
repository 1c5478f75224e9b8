"""Bills of stages: what they are kept under, and the profile's settings of trainings in memory and disk."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hdit_repro import cost, jobs
from hdit_repro.cost.memory import training_memory
from hdit_repro.launch.bills import Bill, Bills
from hdit_repro.launch.clusters import Slurm, read_cluster
from hdit_repro.launch.plan import make_plan, wanted
from hdit_repro.launch.price import FEATURE_BYTES
from hdit_repro.records.layout import Roots
from hdit_repro.spec.base import kinds
from hdit_repro.spec.evaluation import Extractor
from hdit_repro.spec.external import External
from hdit_repro.stages.settings import HowToTrain

EXPERIMENT = "imagenet256"


def profile(**how: Any) -> Slurm:
    found = read_cluster("a100")
    assert isinstance(found, Slurm)
    return msgspec.structs.replace(found, training=HowToTrain(**how))


def trained(**how: Any) -> Bill:
    return Bills(profile(**how)).of(jobs.find(EXPERIMENT), "train")


def test_images_of_others_do_not_stand_for_the_row_that_they_extend() -> None:
    job = jobs.find(EXPERIMENT)
    theirs = External(name="theirs", digest="0" * 64, images=job.run.sampling.count)
    other = msgspec.structs.replace(job, run=msgspec.structs.replace(job.run, external=theirs))
    bills = Bills(profile())
    assert bills.of(other, "train").price.hours == 0
    assert bills.of(other, "train").disk == bills.of(other, "train").room.memory == 0
    assert bills.of(job, "train").price.gpu_hours == pytest.approx(2740, rel=0.01)


def test_memory_is_that_of_the_microbatch_and_the_recomputing_that_the_profile_asks_for() -> None:
    run, plain = jobs.find(EXPERIMENT).run, trained().room
    assert not plain.recompute

    def memory(batch: int, recompute: bool) -> int:
        precision = run.training.precision
        return training_memory(run.model, batch, precision, processes=4, recompute=recompute).total

    small = trained(microbatch=16).room
    assert (small.microbatch, small.memory, small.recompute) == (16, memory(16, False), False)
    assert small.words.endswith("of 80 GiB in pieces of 16")
    again = trained(microbatch=16, recompute=True).room
    assert (again.memory, again.recompute) == (memory(16, True), True)
    assert again.words.endswith("in pieces of 16, recomputed")
    only = trained(recompute=True).room
    assert (only.memory, only.recompute) == (memory(plain.draws, True), True)
    large = trained(microbatch=10_000).room
    assert (large.draws, large.microbatch, large.memory) == (plain.draws, 0, memory(plain.draws, False))
    assert large.words.endswith("does not fit")


def test_further_averages_take_memory_and_disk() -> None:
    run = jobs.find(EXPERIMENT).run
    parameters = cost.count(run.model, run.data.resolution).parameters
    plain, more = trained(microbatch=16), trained(microbatch=16, ema_decays=(0.9, 0.99))
    assert more.room.memory - plain.room.memory == 2 * 4 * parameters
    assert more.disk - plain.disk == 3 * 2 * 4 * parameters, "in each of three checkpoints"
    kept = trained(microbatch=16, ema_decays=(0.9, 0.99), snapshots=(1, 2))
    assert kept.disk - more.disk == 2 * 3 * 4 * parameters, "three averages at each of two steps"


def test_rows_that_share_a_training_add_the_averages_that_they_are_drawn_of(roots: Roots) -> None:
    (job,) = wanted("table1", "paper", ["E"])
    sampling = msgspec.structs.replace(job.run.sampling, ema_decay=0.9, at_step=50)
    other = msgspec.structs.replace(job, row="E2", run=msgspec.structs.replace(job.run, sampling=sampling))
    alone, both = (make_plan(asked, roots, profile())[0] for asked in ([job], [job, other]))
    parameters = cost.count(job.run.model, job.run.data.resolution).parameters
    assert both.room.memory - alone.room.memory == 4 * parameters
    assert both.disk - alone.disk == (3 * 4 + 2 * 4) * parameters


def test_every_extractor_has_a_size_on_disk() -> None:
    assert set(FEATURE_BYTES) == set(kinds(Extractor)), "FEATURE_BYTES in launch/price.py"
