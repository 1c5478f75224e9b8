"""From print to number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.paper import printed


@pytest.mark.parametrize(
    ("text", "value", "step"),
    [
        ("657", 657, 1),
        ("6,341", 6341, 1),
        ("27.74", 27.74, 0.01),
        ("32.50", 32.5, 0.01),
        ("117M", 117_000_000, 1e6),
        ("1.8B", 1_800_000_000, 1e8),
        ("2.2M", 2_200_000, 1e5),
        ("400k", 400_000, 1e3),
        ("5e-4", 5e-4, 1e-4),
        ("1e-8", 1e-8, 1e-8),
        ("0.9999", 0.9999, 1e-4),
        ("15 hours", 15, 1),
        ("7.6 days", 7.6, 0.1),
        ("30%", 30, 1),
        ("−83%", -83, 1),
        ("1,281,167", 1_281_167, 1),
    ],
)
def test_numbers_as_the_paper_writes_them(text: str, value: float, step: float) -> None:
    number = printed.parse(text)
    assert number is not None
    assert number.value == value
    assert type(number.value) is type(value)
    assert number.step == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "-", "O(n)", "50·2", "256+", "[2, 11]", "6,34", "1,2345", "4 A100", "1.8 B 2", "1e", "k"]
)
def test_what_shows_no_single_number(text: str) -> None:
    assert printed.parse(text) is None


@given(st.integers(min_value=0, max_value=10**12))
def test_grouped_digits_come_back(value: int) -> None:
    number = printed.parse(f"{value:,}")
    assert number is not None
    assert number.value == value


@given(st.decimals(min_value=0, max_value=9999, places=2))
def test_no_binary_rounding_on_the_way(value: object) -> None:
    number = printed.parse(str(value))
    assert number is not None
    assert number.value == float(str(value))


def test_lists() -> None:
    assert printed.is_list("[2, 11]")
    assert not printed.is_list("2, 11")
