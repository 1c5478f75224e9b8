"""Intervals cover what they say they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.infinity import frechet_curve
from hdit_repro.metrics.intervals import GROUPS, NORMAL, STUDENT, fraction_interval, frechet_interval, groups
from hdit_repro.metrics.statistics import statistics_of

WIDTH = 6


def drawn(rng, count):
    """Samples of a Gaussian whose distance to the standard one is known."""
    return rng.standard_normal((count, WIDTH)) * 1.3 + 0.2


TRUTH = WIDTH * 0.2**2 + WIDTH * 0.3**2
REFERENCE = np.zeros(WIDTH), np.eye(WIDTH)


def distance(rows):
    found = statistics_of(rows)
    return frechet_distance(found.mean, found.cov, *REFERENCE)


def test_the_jackknife_covers_the_mean_of_repetitions():
    rng = np.random.default_rng(0)
    sets = [drawn(rng, 300) for _ in range(200)]
    values = [distance(rows) for rows in sets]
    centre = np.mean(values)
    intervals = [frechet_interval(rows, value, *REFERENCE) for rows, value in zip(sets, values, strict=True)]
    covered = np.mean([one.low <= centre <= one.high for one in intervals])
    assert 0.88 <= covered <= 0.99
    width = np.mean([one.high - one.low for one in intervals]) / (2 * 2.093)
    assert width == pytest.approx(np.std(values), rel=0.15)


def test_the_jackknife_by_its_definition():
    """sqrt((G - 1) / G sum (d_g - mean d)^2), each d_g from the rows that are left; and no distance is below 0."""
    rows = drawn(np.random.default_rng(7), 60)
    apart = np.array([distance(rows[groups(60) != group]) for group in range(GROUPS)])
    error = ((GROUPS - 1) / GROUPS * ((apart - apart.mean()) ** 2).sum()) ** 0.5
    found = frechet_interval(rows, 5.0, *REFERENCE)
    assert (found.low, found.high) == pytest.approx((5 - STUDENT * error, 5 + STUDENT * error), rel=1e-6)
    assert frechet_interval(rows, 0.01, *REFERENCE).low == 0


def test_equal_images_have_no_interval_of_no_width():
    rows = np.tile(drawn(np.random.default_rng(3), 1), (100, 1))
    assert frechet_interval(rows, distance(rows), *REFERENCE) is None


@pytest.mark.parametrize("count", [41, 60, 1000])
def test_groups_are_even_and_no_class_dealt_in_turn_falls_into_one(count):
    found = groups(count)
    sizes = np.bincount(found, minlength=GROUPS)
    assert sizes.max() - sizes.min() <= 1 + (count % GROUPS > 0)
    assert (groups(2 * count)[:count] == found).all()
    if count == 1000:
        assert min(len(set(found[first::100])) for first in range(100)) > 4


def test_classes_dealt_in_turn_have_the_interval_of_the_same_images_shuffled():
    rng = np.random.default_rng(2)
    centres = 3 * rng.standard_normal((40, WIDTH))
    rows = centres[np.arange(2000) % 40] + rng.standard_normal((2000, WIDTH))
    dealt, shuffled = (frechet_interval(some, distance(some), *REFERENCE) for some in (rows, rng.permutation(rows)))
    assert dealt.high - dealt.low == pytest.approx(shuffled.high - shuffled.low, rel=0.5)


@pytest.mark.parametrize("count", [40, 60, 500])
def test_fewer_images_than_features(count):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((count, 80))
    found = statistics_of(rows)
    value = frechet_distance(found.mean, found.cov, np.zeros(80), np.eye(80))
    interval = frechet_interval(rows, value, np.zeros(80), np.eye(80))
    assert 0 <= interval.low < value < interval.high
    leave = np.delete(rows, np.s_[0::20], axis=0)
    from hdit_repro.metrics.intervals import _distance

    rest = statistics_of(leave)
    wanted = frechet_distance(rest.mean, rest.cov, np.zeros(80), np.eye(80))
    assert _distance(leave, np.zeros(80), np.eye(80)) == pytest.approx(wanted, rel=1e-6)


def test_too_few_images_have_no_interval():
    assert frechet_interval(np.zeros((39, 2)), 1.0, np.zeros(2), np.eye(2)) is None


def test_wilson():
    """Against a table: 15 of 50 at 95 % is 0.191 to 0.438."""
    found = fraction_interval(0.3, 50, "x")
    assert (found.low, found.high) == pytest.approx((0.191, 0.438), abs=5e-4)
    for count in range(1, 200):  # rounding leaves 3e-18 for 0
        assert fraction_interval(0, count, "x").low == 0
        assert fraction_interval(1, count, "x").high == 1
    assert "x" in found.how


def test_the_curve_falls_and_its_end_is_nearer_to_the_truth():
    rng = np.random.default_rng(2)
    curve = frechet_curve(drawn(rng, 4000), *REFERENCE)
    assert len(curve.counts) == 15
    assert curve.counts[-1] == 4000
    assert curve.values[0] > curve.values[-1]
    assert curve.values[-1] == pytest.approx(distance(drawn(np.random.default_rng(2), 4000)), rel=1e-9)
    small = frechet_curve(drawn(rng, 200), *REFERENCE)
    ends = [frechet_curve(drawn(rng, 200), *REFERENCE).infinity for _ in range(40)]
    whole = [distance(drawn(rng, 200)) for _ in range(40)]
    assert abs(np.mean(ends) - TRUTH) < 0.7 * abs(np.mean(whole) - TRUTH)
    assert small.residual > 0
    assert frechet_curve(drawn(np.random.default_rng(2), 4000), *REFERENCE) == curve
    with pytest.raises(ValueError, match="20 samples"):
        frechet_curve(np.zeros((19, 2)), np.zeros(2), np.eye(2))


def test_the_quantiles_are_scipys():
    assert stats.t.ppf(0.975, GROUPS - 1) == pytest.approx(STUDENT, rel=1e-12)
    assert stats.norm.ppf(0.975) == pytest.approx(NORMAL, rel=1e-12)


def test_each_point_of_a_curve_is_of_the_subset_that_its_place_draws():
    rows = np.random.default_rng(5).normal(size=(60, 4))
    mean, cov = np.zeros(4), np.eye(4)
    curve = frechet_curve(rows, mean, cov, points=3)
    assert curve.counts == (6, 33, 60)
    for place, (count, value) in enumerate(zip(curve.counts, curve.values, strict=True)):
        subset = rows[np.random.default_rng((0, place)).choice(60, count, replace=False)]
        expected = frechet_distance(subset.mean(axis=0), np.cov(subset, rowvar=False), mean, cov)
        assert value == pytest.approx(expected, rel=1e-9)


def test_a_curve_of_many_samples_begins_at_five_thousand():
    rows = np.random.default_rng(6).normal(size=(60_000, 2))
    assert frechet_curve(rows, np.zeros(2), np.eye(2), points=2).counts == (5_000, 60_000)
