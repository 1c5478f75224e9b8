"""The computations that can settle a claim, as data. `audit` carries them out. Plain values, no torch.

`run` names a job ("table1/E"); where a check leaves it out, the reader fills in the run of the claim.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from hdit_repro.paper import formula
from hdit_repro.spec.base import Choice, Spec, require

Value = int | float | str


class Cost(Choice, tag="cost"):
    """Multiply-accumulates of one forward pass of the run's network, adapted to `resolution` (pixels a side).

    The value is in units of 10^9. A resolution of None is the run's own.
    """

    run: str = ""
    resolution: int | None = None


class Parameters(Choice, tag="parameters"):
    """Trainable parameters of the run's network at `resolution`, or of `model`, written as in a job file."""

    run: str = ""
    resolution: int | None = None
    model: dict[str, Value | bool] | None = None


class Complexity(Choice, tag="complexity"):
    """ "O(n)" or "O(n^2)": a + b n + c n^2 through the counted costs from the run's own resolution up."""

    run: str = ""


class Field(Choice, tag="field"):
    """What the job says. A dotted path into the run's spec, or several, which are read as one list.

    A path goes through attributes, properties and list positions ("training.growth.0.batch"); through a list it is
    taken of every member that has it ("model.levels.head_width"); `kind` is a choice's tag, or the name of a type that
    has no alternatives ("AdamW").
    """

    field: str | tuple[str, ...]
    run: str = ""


class Levels(Choice, tag="levels"):
    """ "3 + 2": levels with local attention, and with global attention."""

    run: str = ""
    resolution: int | None = None


class Same(Choice, tag="same"):
    """Whether all `runs` have the same value at `field`."""

    runs: tuple[str, ...]
    field: str

    def __post_init__(self) -> None:
        require(len(self.runs) >= 2, "`same` compares at least two runs")


class Formula(Choice, tag="formula"):
    """An expression of the small language of `paper/formula.py`; `at` gives values to its free names."""

    expression: str
    at: dict[str, float] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        formula.check(self.expression, self.at)


class Equation(Choice, tag="equation"):
    """Whether two expressions agree at every combination of the values in `at`.

    The computed value is the largest relative difference; up to `tolerance` counts as none.
    """

    left: str
    right: str
    at: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        for expression in (self.left, self.right):
            formula.check(expression, self.at)


class Order(Choice, tag="order"):
    """Whether the print of claim `lower` is below the print of claim `higher`."""

    lower: str
    higher: str


class Candidate(Spec):
    """One reading of a printed cell: its value, and what the job would then say, by dotted field."""

    value: Value
    set: dict[str, Value | tuple[int, ...]]


class Reading(Choice, tag="reading"):
    """Which candidates make the run give what the claims `targets` print.

    The targets' own checks are carried out on the changed run. The computed value is the candidate that satisfies all
    of them; where several or none do, that is said.
    """

    candidates: tuple[Candidate, ...]
    targets: tuple[str, ...]
    run: str = ""

    def __post_init__(self) -> None:
        require(len(self.candidates) >= 2, "a reading decides between at least two candidates")
        require(len(self.targets) >= 1, "a reading needs the claim that decides it")


class Cited(Choice, tag="cited"):
    """What another source prints for the same thing."""

    value: Value
    source: str


Check = Cost | Parameters | Complexity | Field | Levels | Same | Formula | Equation | Order | Reading | Cited


def expressions(check: Check) -> tuple[str, ...]:
    """The formulas that a check holds."""
    if isinstance(check, Formula):
        return (check.expression,)
    if isinstance(check, Equation):
        return (check.left, check.right)
    return ()


def claims_of(check: Check) -> Iterator[str]:
    """Ids of the other claims that a check refers to."""
    if isinstance(check, Order):
        yield from (check.lower, check.higher)
    elif isinstance(check, Reading):
        yield from check.targets
    for expression in expressions(check):
        yield from formula.arguments(expression, ("printed",))
