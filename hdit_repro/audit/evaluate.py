"""The registry: which function carries out which kind of check. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hdit_repro.audit import counted, formulas, prints, readings, said
from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed
from hdit_repro.paper import checks
from hdit_repro.spec.base import kind_of


def compute(check: checks.Check, bench: Bench) -> Computed:
    """Carry out a check.

    Raises:
        Impossible: the job leaves it without a value: a network that does not fit, a field that its choice lacks.
        UserError: the check is mistaken: an unknown run or field.
    """
    return EVALUATORS[kind_of(check)](check, bench)


def _reading(check: checks.Reading, bench: Bench) -> Computed:
    return readings.reading(check, bench, compute)


EVALUATORS: dict[str, Callable[[Any, Bench], Computed]] = {
    "cost": counted.cost,
    "parameters": counted.parameters,
    "complexity": counted.complexity,
    "field": said.field,
    "levels": counted.levels,
    "same": said.same,
    "formula": formulas.formula,
    "equation": formulas.equation,
    "order": prints.order,
    "reading": _reading,
    "cited": prints.cited,
}
"""Kind of check -> what carries it out."""
