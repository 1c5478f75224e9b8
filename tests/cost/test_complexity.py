"""The fit behind the complexity classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro import jobs
from hdit_repro.cost.complexity import fit, growth

SIZES = [side * side for side in (128, 256, 512, 1024, 2048)]


@given(st.integers(1, 10**12), st.integers(1, 10**6), st.integers(0, 100))
def test_an_exact_parabola_is_found_again(constant: int, linear: int, quadratic: int) -> None:
    found = fit([(n, constant + linear * n + quadratic * n * n) for n in SIZES])
    assert (found.constant, found.linear, found.quadratic) == (constant, linear, quadratic)


def test_orders() -> None:
    assert fit([(n, 7) for n in SIZES]).text == "O(1)"
    assert fit([(n, 10**10 + 500_000 * n) for n in SIZES]).text == "O(n)"
    assert fit([(n, 10**10 + 500_000 * n + 10 * n * n) for n in SIZES]).text == "O(n²)"


def test_a_term_counts_where_it_is_more_than_a_hundredth_of_the_largest_cost() -> None:
    largest = SIZES[-1]
    assert fit([(n, 101 * largest * n + n * n) for n in SIZES]).order == 1, "1 of 102"
    assert fit([(n, 98 * largest * n + n * n) for n in SIZES]).order == 2, "1 of 99"


@pytest.mark.parametrize("row", ["B1", "B2", "C", "D", "E"])
def test_local_rows_have_no_quadratic_term(row: str) -> None:
    """E's costs are affine in n, up to the norms' linear layers, one set a level."""
    found = growth(jobs.find(f"table1/{row}").run.model)
    assert abs(found.quadratic) * SIZES[-1] ** 2 < 1e-4 * found.linear * SIZES[-1]
    assert found.order == 1


@pytest.mark.parametrize("run", ["imagenet256", "ffhq1024"])
def test_growth_is_read_from_a_networks_own_size_up(run: str) -> None:
    """Below it levels are not taken away: the core's attention would grow with the image there, and no longer above."""
    assert growth(jobs.find(run).run.model).text == "O(n)"
