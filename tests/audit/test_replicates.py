"""Differences of logarithms in words."""

from __future__ import annotations

import math

import pytest

from hdit_repro.audit.replicates import between, change


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.012, "+1.2 %"),
        (0.966, "−3.4 %"),
        (244.21, "+24,321 %"),
        (1.00012, "+0.012 %"),
        (0.99951, "−0.049 %"),
        (1.00051, "+0.1 %"),
        (1.0, "0 %"),
        (1 + 1e-12, "0 %"),
        (1 - 1e-12, "0 %"),
    ],
)
def test_a_change_in_words(ratio: float, words: str) -> None:
    assert change(math.log(ratio)) == words


def test_an_interval_names_ends_that_are_one_once() -> None:
    assert between(math.log(0.99), math.log(1.0002)) == "−1.0 % to +0.020 %"
    assert between(0.0, 0.0) == "0 % at both ends"
