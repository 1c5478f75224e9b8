"""The noise model: pooled from records, the published one where there are none."""

from __future__ import annotations

import math
import random
from statistics import stdev

import pytest

from hdit_repro.audit.noise import ENOUGH, OWN, PRIOR, SAMPLING_PRIOR, UNKNOWN, Noise, Spread, estimate, independent
from hdit_repro.audit.replicates import Replicates, percent, replicates


def of(*values: float) -> Replicates:
    return Replicates({seed: (value,) for seed, value in enumerate(values)})


def test_the_published_noise_where_there_is_none() -> None:
    noise = estimate({"A": of(3.0), "B": of(3.5)})
    assert noise.of("A") == PRIOR
    assert PRIOR.sd == 0.013
    assert noise.sampling == SAMPLING_PRIOR
    assert SAMPLING_PRIOR.sd == pytest.approx(0.013 / 3.2)
    assert noise.words().count("2606.20536") == 2


def test_few_repetitions_leave_the_published_noise_and_say_so() -> None:
    noise = estimate({"A": of(3.0, 3.2), "B": of(3.5, 3.4)})
    assert noise.pooled.sd == PRIOR.sd
    assert f"2 of the {ENOUGH} degrees of freedom" in noise.pooled.basis


def test_pooled_by_hand() -> None:
    noise = estimate({"A": of(3.00, 3.02, 3.04), "B": of(2.00, 2.01), "C": of(1.0, 1.03), "D": of(9.0)})
    squares = 2 * 0.02**2 + 0.01**2 / 2 + 0.03**2 / 2
    assert noise.pooled.dof == 4
    assert noise.pooled.sd == pytest.approx(math.sqrt(squares / 4))
    assert noise.of("D") is noise.pooled


def test_a_row_with_many_repetitions_speaks_for_itself() -> None:
    dice = random.Random(0)
    loud = [dice.gauss(3, 0.1) for _ in range(OWN)]
    quiet = {str(number): of(*(dice.gauss(3, 0.01) for _ in range(3))) for number in range(4)}
    noise = estimate({"loud": of(*loud), **quiet})
    assert noise.of("loud").sd == pytest.approx(stdev(loud))
    assert noise.of("loud").dof == OWN - 1
    assert noise.pooled.sd < 0.03
    assert noise.pooled.dof == 8


def test_a_row_of_its_own_noise_knows_how_often_its_networks_were_sampled() -> None:
    """Trainings 1 % apart, samplings 1 %, four samplings a training: one sampling has both, four have less."""
    dice = random.Random(2)
    trainings = {}
    for seed in range(400):
        luck = dice.gauss(3, 0.01)
        trainings[seed] = tuple(luck + dice.gauss(0, 0.01) for _ in range(4))
    noise = estimate({"A": Replicates(trainings)})
    assert noise.of("A", 4).sd == pytest.approx(math.hypot(0.01, 0.01 / 2), rel=0.1)
    assert noise.of("A").sd == pytest.approx(math.hypot(0.01, 0.01), rel=0.1)


def test_one_network_under_many_rows_counts_once() -> None:
    """Guidance weights of one training share its luck, and would pass for as many trainings."""
    weights = {
        f"w{weight}": Replicates({0: (3 + weight,), 1: (3.001 + weight,)}, frozenset({"one", "two"}))
        for weight in range(9)
    }
    more = {"X": Replicates({0: (5.0,), 1: (5.2,), 2: (5.1,)}, frozenset({"three", "four", "five"}))}
    noise = estimate(weights)
    assert noise.pooled.sd == PRIOR.sd
    assert f"1 of the {ENOUGH} degrees of freedom" in noise.pooled.basis
    assert list(independent({**weights, **more})) == ["X", "w0"]
    wider = {"w9": Replicates({0: (3.0,), 1: (3.1,), 2: (3.3,)}, frozenset({"one", "two", "six"}))}
    assert list(independent({**weights, **wider})) == ["w9"]


def test_sampling_noise_is_told_from_training_noise() -> None:
    """Trainings 2 % apart, samplings 0.5 %; a single sampling of a training has both."""
    dice = random.Random(1)
    rows = {}
    for name in range(30):
        trainings = {}
        for seed in range(4):
            luck = dice.gauss(3, 0.02)
            trainings[seed] = tuple(luck + dice.gauss(0, 0.005) for _ in range(3))
        rows[str(name)] = Replicates(trainings)
    noise = estimate(rows)
    assert noise.sampling.sd == pytest.approx(0.005, rel=0.15)
    assert noise.pooled.sd == pytest.approx(math.hypot(0.02, 0.005 / math.sqrt(3)), rel=0.15)
    assert noise.samplings == pytest.approx(3)
    single = noise.of("0", 1).sd ** 2
    assert single == pytest.approx(noise.pooled.sd**2 + noise.sampling.sd**2 * 2 / 3)
    assert noise.of("0", 3) is noise.pooled


def test_pooled_noise_rests_on_samplings_as_its_rows_weigh() -> None:
    """Six of seven degrees of freedom are of means over four samplings, in which a quarter of their noise is left."""
    rows = {"A": Replicates({seed: (3.0 + 0.01 * seed,) * 4 for seed in range(7)}), "B": of(3.0, 3.01)}
    assert estimate(rows).samplings == pytest.approx(7 / (6 / 4 + 1))


def test_more_samplings_of_one_training_take_only_sampling_noise_away() -> None:
    noise = estimate({"A": of(3.0)})
    many = noise.of("A", 1e9).sd
    assert many == pytest.approx(math.sqrt(PRIOR.sd**2 - SAMPLING_PRIOR.sd**2))
    assert noise.of("A", 4).sd > many


def test_more_samplings_take_no_more_than_if_all_noise_were_theirs() -> None:
    noise = Noise(Spread(0.01, math.inf, ""), Spread(0.02, math.inf, ""), {})
    assert noise.of("A", 2).sd == pytest.approx(0.01 / math.sqrt(2))
    assert noise.of("A", 16).sd == pytest.approx(0.01 / 4)


@pytest.mark.parametrize("sd", [0.002, 0.08])
def test_samplings_that_were_repeated_take_the_place_of_the_published_ones(sd: float) -> None:
    """Noise of a training with its sampling is never less than what the records show of samplings alone."""
    step = sd * math.sqrt(2)
    noise = estimate({name: Replicates({0: (3.0, 3.0 + step)}) for name in "ABCD"})
    assert noise.sampling.sd == pytest.approx(sd)
    assert noise.pooled.sd**2 == pytest.approx(PRIOR.sd**2 - SAMPLING_PRIOR.sd**2 + sd**2)
    assert noise.pooled.brief().endswith("% (published, but for samplings)")
    assert noise.pooled.dof >= noise.sampling.dof
    assert noise.of("A", 2.0).sd ** 2 == pytest.approx(noise.pooled.sd**2 - sd**2 / 2)


@pytest.mark.parametrize("seeds", [2, OWN])
@pytest.mark.parametrize("prior", [PRIOR, UNKNOWN])
def test_repetitions_without_a_difference_are_no_noise_of_nothing(seeds: int, prior: Spread) -> None:
    """Of ten images, a precision is 0.5 in every training, and the next may well be 0.6."""
    noise = estimate({name: of(*[math.log(0.5)] * seeds) for name in "ABCD"}, prior)
    assert noise.of("A").sd == prior.sd
    if seeds < OWN:
        assert noise.pooled.basis.endswith("; of 8 trainings of 4 rows, no two of one row differ")
    samplings = estimate({name: Replicates({0: (3.0, 3.0)}) for name in "ABCD"}, prior)
    assert samplings.sampling.sd == (math.inf if prior.unknown else SAMPLING_PRIOR.sd)


def test_unknown_noise_stays_unknown() -> None:
    noise = estimate({"A": of(3.0)}, UNKNOWN)
    assert noise.of("A").unknown
    assert noise.of("A", 4).unknown
    assert "--seeds 2" in noise.words()


def test_noise_larger_than_the_number_has_no_exponent() -> None:
    assert [Spread(sd, 4, "records").brief() for sd in (1.3, 0.25, 0.013)] == [
        "130 % (records)", "25 % (records)", "1.3 % (records)",
    ]  # fmt: skip


def test_samplings_of_a_training_count_once() -> None:
    one = Replicates({0: (1.0, 3.0), 1: (5.0,)})
    assert one.mean == 3.5
    assert one.seeds == 2
    assert one.samplings == pytest.approx(4 / 3)


def test_what_is_not_positive_has_no_logarithm(record) -> None:
    assert replicates([record("table1/E", fid=0.0)], "fid") is None
    assert replicates([record("table1/E", fid=27.0)], "inception-score") is None
    seeds = [record("table1/E", seed=seed, kid=value) for seed, value in enumerate((1e-3, -1e-4, 2e-3))]
    assert replicates(seeds, "kid") is None, "the positive ones alone are those that luck had raised"
    assert percent(math.log(1.1)) == pytest.approx(10)


def test_below_paper_scale_no_published_sampling_noise_is_borrowed() -> None:
    noise = estimate({}, UNKNOWN)
    assert noise.sampling.unknown
    assert noise.of("a", samplings=3.0).unknown
    known = Noise(Spread(0.02, 5, "records"), noise.sampling, {}, samplings=2.0)
    assert known.of("a", samplings=4.0) == known.pooled
    assert known.of("a", samplings=1.0).unknown
