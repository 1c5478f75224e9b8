"""The language of the ledger's computations: what it computes, and that it takes nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.paper import formula

finite = st.floats(min_value=-1e3, max_value=1e3, allow_nan=False)


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("1 + 2 * 3", {}, 7),
        ("-(2 ** 3) / 4", {}, -2.0),
        ("min(1 / sigma ** 2, gamma)", {"sigma": 0.1, "gamma": 5.0}, 5.0),
        ("min(1 / sigma ** 2, gamma)", {"sigma": 10.0, "gamma": 5.0}, 0.01),
        ("exp(min(log(10), log(1 / 0.01)))", {}, 10.0),
        ("sqrt(abs(-16)) + max(1, 2, 3)", {}, 7.0),
        ('100 * cost("a", 256) / cost("b")', {}, 25.0),
    ],
)
def test_values(expression: str, values: dict[str, float], expected: float) -> None:
    functions = {"cost": lambda run, resolution=128: {"a": resolution, "b": 1024}[run]}
    formula.check(expression, values)
    assert formula.evaluate(expression, functions, values) == pytest.approx(expected)


@given(finite, finite, st.floats(min_value=0.1, max_value=9))
def test_agrees_with_python(a: float, b: float, c: float) -> None:
    expression = "(a - b) * c / (c ** 2 + 1) - -a"
    found = formula.evaluate(expression, {}, {"a": a, "b": b, "c": c})
    assert isinstance(found, float)
    assert math.isclose(found, (a - b) * c / (c**2 + 1) - -a, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 +", "no expression"),
        ("sigm + 1", "did you mean 'sigma'"),
        ("costs('a')", "calls 'costs'.* did you mean 'cost'"),
        ("__import__('os').system('true')", "plain function"),
        ("sigma.real", "Attribute"),
        ("[1, 2]", "List"),
        ("1 if 2 else 3", "IfExp"),
        ("cost(sigma)", "name in quotes"),
        ("cost()", "name in quotes"),
        ("cost('a', resolution=3)", "positions"),
        ("2 % 3", "operator"),
        ("+2", "minus"),
        ("True", "neither"),
        ("1j", "neither"),
        ("lambda: 1", "Lambda"),
        ("1 < 2", "Compare"),
    ],
)
def test_refuses_what_the_language_lacks(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formula.check(expression, ("sigma",))


def test_names_that_it_asks_for() -> None:
    expression = 'cost("table1/A", 128) / cost("table1/R2", 128) + printed("table1/E/fid")'
    assert list(formula.arguments(expression, formula.OF_RUNS)) == ["table1/A", "table1/R2"]
    assert list(formula.arguments(expression, ("printed",))) == ["table1/E/fid"]


def test_words_are_no_numbers() -> None:
    with pytest.raises(TypeError, match="words"):
        formula.evaluate('field("a") + 1', {"field": lambda run: "adamw"}, {})
