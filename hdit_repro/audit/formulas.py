"""Checks that reckon: formulas of the ledger over runs, costs and printed numbers, and equations. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed, Impossible, say
from hdit_repro.audit.counted import attention_kinds
from hdit_repro.audit.fields import look, plain
from hdit_repro.errors import UserError
from hdit_repro.paper import checks
from hdit_repro.paper import formula as language
from hdit_repro.spec.model import DiT

TINY = 1e-300
"""Keeps the relative difference of two zeros at zero."""

Function = Callable[..., language.Value]


def formula(check: checks.Formula, bench: Bench) -> Computed:
    """The value of an expression, with what each function in it gives.

    Raises:
        Impossible: it divides by zero, reckons with words, or comes to no finite number.
    """
    steps: dict[str, None] = {}
    value = _evaluate(check.expression, _noted(bench, steps), check.at)
    where = f" at {_values(check.at)}" if check.at else ""
    return Computed(value, (*steps, f"{check.expression} = {say(value)}{where}"))


def equation(check: checks.Equation, bench: Bench) -> Computed:
    """The largest relative difference of two expressions over all combinations of values.

    Raises:
        Impossible: a side cannot be computed.
    """
    known = functions(bench)
    worst = -1.0
    steps: tuple[str, ...] = ()
    points = list(itertools.product(*check.at.values()))
    for point in points:
        at = dict(zip(check.at, point, strict=True))
        sides = [_number(_evaluate(side, known, at), side) for side in (check.left, check.right)]
        difference = abs(sides[0] - sides[1]) / max(*map(abs, sides), TINY)
        if difference > worst:
            worst = difference
            steps = (
                f"furthest apart at {_values(at)}:" if at else "both sides:",
                f"{check.left} = {say(sides[0])}",
                f"{check.right} = {say(sides[1])}",
            )
    holds = worst <= check.tolerance
    verdict = f"relative difference {worst:.3g} over {len(points)} points; up to {check.tolerance:g} counts as none"
    return Computed(worst, (*steps, verdict), holds=holds)


def functions(bench: Bench) -> dict[str, Function]:
    """What formulas can ask for, by name: the functions of `paper.formula.FUNCTIONS`."""

    def cost(run: str, resolution: int | None = None) -> int:
        return bench.cost(run, resolution).macs

    def parameters(run: str, resolution: int | None = None) -> int:
        return bench.cost(run, resolution).parameters

    def field(run: str, path: str) -> language.Value:
        return plain(look(bench.run(run), path), path)[0]

    def levels(run: str, resolution: int | None = None) -> int:
        return len(attention_kinds(bench.model(run, resolution)))

    def grid(run: str, level: int, resolution: int | None = None) -> int:
        """Tokens a side of a level, counted from the outermost; -1 is the innermost."""
        model = bench.model(run, resolution)
        count = len(attention_kinds(model))
        if not -count <= level < count:
            raise Impossible(f"{run} has no level {level}", found=f"{count} levels at {model.resolution}²")
        patch = model.patch if isinstance(model, DiT) else model.patch_height
        return model.resolution // patch >> level % count

    def widening(run: str, resolution: int | None = None) -> float:
        """The smallest ratio of a level's width to that of the level outside it."""
        model = bench.model(run, resolution)
        widths = () if isinstance(model, DiT) else model.widths
        if len(widths) < 2:
            raise Impossible(f"{run} has no level outside another", found=f"1 level at {model.resolution}²")
        return min(inner / outer for outer, inner in itertools.pairwise(widths))

    def calls(run: str) -> int:
        return bench.run(run).sampling.network_calls

    def printed(claim: str) -> language.Value:
        value = bench.ledger.claim(claim).printed
        if value is None:
            raise UserError(
                f"claim {claim!r} prints no number",
                found=repr(bench.ledger.claim(claim).text),
                expected="a printed number to compute with",
                fix="correct the claim in tables/paper/",
            )
        return value

    known: tuple[Function, ...] = (cost, parameters, field, levels, grid, widening, calls, printed)
    return {function.__name__: function for function in known}


def _noted(bench: Bench, steps: dict[str, None]) -> dict[str, Function]:
    """The functions, each call of which leaves a line in `steps`, once."""

    def noted(name: str, function: Function) -> Function:
        def call(*arguments: language.Value) -> language.Value:
            value = function(*arguments)
            shown = ", ".join(f'"{argument}"' if isinstance(argument, str) else str(argument) for argument in arguments)
            steps[f"{name}({shown}) = {say(value)}"] = None
            return value

        return call

    return {name: noted(name, function) for name, function in functions(bench).items()}


def _evaluate(expression: str, known: Mapping[str, Function], at: Mapping[str, float]) -> language.Value:
    try:
        value = language.evaluate(expression, known, at)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise Impossible(
            "a formula cannot be computed",
            found=f"{expression} at {_values(at)}: {error}" if at else f"{expression}: {error}",
            expected="numbers that it is defined for",
        ) from error
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise Impossible("a formula comes to no finite number", found=f"{expression} = {value}")
    return value


def _number(value: language.Value, expression: str) -> float:
    if isinstance(value, str):
        raise Impossible("an equation compares numbers", found=f"{expression} = {value!r}")
    return value


def _values(at: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {say(value)}" for name, value in at.items())
