"""A small language for computations that the ledger writes down: arithmetic, a few functions, nothing else.

    100 * cost("table1/E", 1024) / cost("table1/R1", 1024)
    min(1 / sigma ** 2, gamma)

Python's own syntax, of which only numbers, strings, free names, + - * / **, and calls of the functions below are taken.
Nothing is ever handed to `eval`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache

from hdit_repro.errors import nearest

Value = float | int | str

ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}

MATH: dict[str, Callable[..., float]] = {
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}

OF_RUNS = ("cost", "parameters", "field", "levels", "grid", "widening", "calls")
"""Functions whose first argument is a job: cost(run, resolution) in MACs, parameters(run, resolution),
field(run, path), levels(run, resolution), grid(run, level, resolution) in tokens a side, widening(run, resolution): the
smallest ratio of a level's width to that of the one outside it, and calls(run) of the network for one sample. The
resolution may be left out."""

FUNCTIONS = (*OF_RUNS, "printed")
"""Functions that the evaluator's caller supplies; printed(claim) is a number of the ledger."""


def check(expression: str, names: Collection[str]) -> None:
    """Refuse what the language does not have.

    Args:
        names: the free names that have a value.

    Raises:
        ValueError: with the expression and the part that cannot be read.
    """
    for node in ast.walk(_parse(expression)):
        if isinstance(node, ast.Call):
            _check_call(node, expression)
        elif isinstance(node, ast.Name):
            known = (*names, *MATH, *FUNCTIONS)
            if node.id not in known:
                close = nearest(node.id, known)
                hint = f"; did you mean {close!r}?" if close else ""
                raise ValueError(f"{expression!r} uses {node.id!r}, which has no value{hint}")
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, int | float | str):
                raise ValueError(f"{expression!r} holds {node.value!r}, which is neither a number nor a string")
        elif isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.USub):
                raise ValueError(f"{expression!r} holds a sign that is not a minus")
        elif isinstance(node, ast.BinOp):
            if type(node.op) not in ARITHMETIC:
                raise ValueError(f"{expression!r} holds an operator that is none of + - * / **")
        elif not isinstance(node, ast.Expression | ast.expr_context | ast.operator | ast.unaryop):
            raise ValueError(f"{expression!r} holds a {type(node).__name__}, which formulas do not have")


def _check_call(node: ast.Call, expression: str) -> None:
    if not isinstance(node.func, ast.Name) or node.keywords:
        raise ValueError(f"{expression!r} calls something that is not a plain function of positions")
    name = node.func.id
    if name not in MATH and name not in FUNCTIONS:
        known = sorted((*MATH, *FUNCTIONS))
        close = nearest(name, known)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ValueError(f"{expression!r} calls {name!r}; the functions are {', '.join(known)}{hint}")
    if name in FUNCTIONS and not (node.args and _is_string(node.args[0])):
        raise ValueError(f"{expression!r}: the first argument of {name} is a name in quotes")


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@lru_cache(maxsize=1024)
def _parse(expression: str) -> ast.Expression:
    try:
        return ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{expression!r} is no expression: {error.msg}") from error


def arguments(expression: str, functions: Collection[str]) -> Iterator[str]:
    """The first arguments of all calls of `functions` in a checked expression."""
    for node in ast.walk(_parse(expression)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            first = node.args[0]
            assert isinstance(first, ast.Constant)
            yield str(first.value)


def evaluate(expression: str, functions: Mapping[str, Callable[..., Value]], values: Mapping[str, float]) -> Value:
    """The value of a checked expression.

    Args:
        functions: one for each of FUNCTIONS that the expression calls.
        values: of its free names.

    Raises:
        ArithmeticError: as Python's own (a division by zero).
    """
    return _evaluate(_parse(expression).body, functions, values)


def _evaluate(node: ast.expr, functions: Mapping[str, Callable[..., Value]], values: Mapping[str, float]) -> Value:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float | str)
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        return -_number(_evaluate(node.operand, functions, values))
    if isinstance(node, ast.BinOp):
        left, right = (_number(_evaluate(side, functions, values)) for side in (node.left, node.right))
        return ARITHMETIC[type(node.op)](left, right)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    arguments = [_evaluate(argument, functions, values) for argument in node.args]
    name = node.func.id
    return MATH[name](*arguments) if name in MATH else functions[name](*arguments)


def _number(value: Value) -> float | int:
    if isinstance(value, str):
        raise TypeError(f"a formula cannot reckon with the words {value!r}")
    return value
