"""When a computed value is the printed one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.audit.agreement import agrees, rule
from hdit_repro.audit.computed import Computed
from hdit_repro.errors import UserError
from hdit_repro.paper import Claim, Unit
from hdit_repro.paper.types import Above, Agreement, Below, Between, Exact, Near, Printed, Round


def claim(printed: Printed, agree: Agreement, means: Printed = None) -> Claim:
    return Claim(
        id="made/up",
        place="Nowhere",
        edition=1,
        printed=printed,
        text=str(printed),
        unit=Unit.CONSTANT,
        agree=agree,
        means=means,
        needs="citation",
        file="made-up.toml",
        line=7,
    )


def held(printed: Printed, agree: Agreement, value: int | float | str, means: Printed = None) -> bool:
    return agrees(claim(printed, agree, means), Computed(value, ()))


@pytest.mark.parametrize(
    ("printed", "value", "holds"),
    [
        (256, 256, True),
        (256, 256.0, True),
        (256, 257, False),
        (5e-4, 0.0005, True),
        ("[2, 11]", "[2, 11]", True),
        ("[2,11]", "[2, 11]", True),
        ("[2, 11]", "[11, 2]", False),
        ("[1e-3, 1e3]", "[0.001, 1000]", True),
        ("bfloat16", "bfloat16", True),
        ("bfloat16", "float32", False),
        ("true", "true", True),
        ("50·2", 100, False),
        ("1 + 1", "1 + 1", True),
    ],
)
def test_exact(printed: Printed, value: int | float | str, holds: bool) -> None:
    assert held(printed, Exact(), value) is holds


def test_a_list_of_equal_numbers_is_that_number() -> None:
    asked = claim(64, Exact())
    assert agrees(asked, Computed("[64, 64]", (), members=(64, 64)))
    assert not agrees(asked, Computed("[64, 32]", (), members=(64, 32)))
    assert not agrees(asked, Computed("[]", (), members=()))
    assert not agrees(claim("[64]", Exact()), Computed("[64, 64]", (), members=(64, 64)))


def test_what_is_compared_may_differ_from_what_is_printed() -> None:
    assert held("DPM++(3M) SDE", Exact(), "dpmpp_3m_sde", means="dpmpp_3m_sde")
    assert not held("DPM++(3M) SDE", Exact(), "DPM++(3M) SDE", means="dpmpp_3m_sde")


@pytest.mark.parametrize(
    ("value", "holds"), [(656.5, True), (656.49, False), (657.0, True), (657.49, True), (657.5, True), (657.51, False)]
)
def test_rounding_reaches_half_a_digit_to_either_side(value: float, holds: bool) -> None:
    assert held(657, Round(to=1), value) is holds


@given(st.integers(-(10**9), 10**9), st.sampled_from((0.01, 0.1, 1.0, 1e6)), st.floats(-0.499, 0.499))
def test_rounding_takes_all_that_round_to_the_print(digits: int, step: float, part: float) -> None:
    printed = digits * step
    assert held(printed, Round(to=step), printed + part * step)
    assert not held(printed, Round(to=step), printed + 0.6 * step)


@pytest.mark.parametrize(
    ("agree", "inside", "outside"),
    [
        (Below(), 0.99, 1.0),
        (Above(), 1.01, 1.0),
        (Near(within=0.02), 1.0199, 1.021),
        (Near(within=0.02), 0.981, 0.979),
        (Between(low=0.5, high=2), 2.0, 2.001),
    ],
)
def test_the_other_rules(agree: Agreement, inside: float, outside: float) -> None:
    assert held(1, agree, inside)
    assert not held(1, agree, outside)


@pytest.mark.parametrize("holds", [True, False])
def test_what_is_true_or_not_by_itself_is_held_against_no_print(holds: bool) -> None:
    assert agrees(claim("words", Exact()), Computed("different", (), holds=holds)) is holds


def test_words_cannot_be_rounded() -> None:
    with pytest.raises(UserError, match="computed value of claim 'made/up'") as caught:
        held(1, Round(to=1), "many")
    assert "made-up.toml:7" in str(caught.value)
    with pytest.raises(UserError, match="print of claim"):
        held("many", Below(), 1)


@pytest.mark.parametrize(
    ("agree", "words"),
    [
        (Exact(), "must be 6,341"),
        (Round(to=1), "rounded to 1, must be 6,341"),
        (Below(), "must be less than 6,341"),
        (Above(), "must be more than 6,341"),
        (Near(within=0.02), "must be within 2% of 6,341"),
        (Between(low=1, high=2.5), "must lie between 1 and 2.5"),
    ],
)
def test_rules_in_words(agree: Agreement, words: str) -> None:
    assert rule(claim(6341, agree)) == words
