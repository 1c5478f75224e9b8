"""A run with other seeds: what it shares with the first is kept, and its ids are those of a run made afresh."""

from __future__ import annotations

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.spec.run import Run


def afresh(run: Run) -> Run:
    return msgspec.json.decode(msgspec.json.encode(run), type=Run)


@pytest.mark.parametrize("job", jobs.all_jobs("paper")[::7], ids=lambda job: job.name)
def test_ids_are_those_of_a_run_made_afresh(job: jobs.Job) -> None:
    first = afresh(job.run)
    assert first.row_id == afresh(first.repeated(0, 0)).evaluation_id
    for seeds in ((0, 0), (3, 0), (0, 5), (3, 5)):
        run = first.repeated(*seeds)
        other = afresh(run)
        assert (run.seed, run.sampling.seed) == seeds
        assert run == other
        assert (run.training_id, run.sampling_id) == (other.training_id, other.sampling_id)
        assert (run.evaluation_id, run.row_id) == (other.evaluation_id, other.row_id)
        assert run.row_id == first.row_id


def test_each_seed_has_ids_of_its_own() -> None:
    run = jobs.find("table1/E", "smoke").run
    runs = [run.repeated(seed, sampling) for seed in range(3) for sampling in range(3)]
    assert [len({getattr(one, f"{stage}_id") for one in runs}) for stage in ("training", "sampling", "evaluation")] == [
        3,
        9,
        9,
    ]
