"""One printed number, and when a computed one counts as the same. Plain values, no torch."""

from __future__ import annotations

import enum
from typing import Literal, NamedTuple

import msgspec

from hdit_repro.paper.checks import Check
from hdit_repro.spec.base import Choice, require

Printed = int | float | str | None


class Unit(enum.StrEnum):
    """What a printed number counts. A name that is not listed here is refused when the ledger is read."""

    FID = "FID"
    IS = "IS"
    FD_DINOV2 = "FD-DINOv2"
    KD_DINOV2 = "KD-DINOv2"
    GFLOP = "GFLOP"  # the paper's word; it counts 10^9 multiply-accumulates
    PARAMETERS = "parameters"
    IMAGES = "images"
    STEPS = "steps"
    CALLS = "calls"  # of the network, a sample
    HOURS = "hours"
    DAYS = "days"
    RATIO = "ratio"
    PERCENT = "percent"
    TIMES = "times"
    PIXELS = "pixels"  # a side
    TOKENS = "tokens"  # a side
    LEVELS = "levels"
    LAYERS = "layers"
    WIDTH = "width"
    HEADS = "heads"
    PROBABILITY = "probability"
    RATE = "rate"
    DECAY = "decay"
    SIGMA = "sigma"
    GAMMA = "gamma"
    GUIDANCE = "guidance"
    SCALE = "scale"
    CONSTANT = "constant"
    CLASS = "class"  # of complexity: O(n), O(n^2)
    ORDER = "order"  # which of two printed numbers is the smaller
    TEXT = "text"

    @property
    def numeric(self) -> bool:
        """Whether a print in this unit is a number (or a list of numbers) and not words."""
        return self not in (Unit.CLASS, Unit.ORDER, Unit.TEXT)


GFLOP = 1_000_000_000
"""Multiply-accumulates in the paper's GFLOP."""

# When a computed value agrees with the print. `value` below is the printed one. The checks `same`, `equation` and
# `order` are true or not by themselves and are held against no print.


class Exact(Choice, tag="exact"):
    """The same number, the same word, the same list; a list of equal numbers is the same as that number."""


class Round(Choice, tag="round"):
    """No further from `value` than half of `to`: the computed value, rounded to `to`, is the printed one."""

    to: float

    def __post_init__(self) -> None:
        require(self.to > 0, f"a rounding step is positive, and {self.to} is not")


class Below(Choice, tag="below"):
    """Less than `value` ("less than 1%")."""


class Above(Choice, tag="above"):
    """More than `value` ("more than 10 times")."""


class Near(Choice, tag="near"):
    """Within the fraction `within` of `value` ("approx.")."""

    within: float

    def __post_init__(self) -> None:
        require(0 < self.within < 1, f"`within` is a fraction in (0, 1), and {self.within} is not")


class Between(Choice, tag="between"):
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self.low <= self.high, f"low is {self.low} and high is {self.high}")


Agreement = Exact | Round | Below | Above | Near | Between

Needs = Literal["run", "citation"]
"""Why a claim has no check: somebody must run it, or it is another paper's number."""

Expectation = Literal["holds", "erratum"]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a table, or one number of a sentence, caption, footnote or equation.

    Exactly one of `check` and `needs` is set.
    """

    id: str
    """Unique in the ledger: "table1/E/gflop-256", "section-5.2/a-share"."""
    place: str
    """Where it is printed: "Table 1, E, GFLOP@256²"."""
    edition: int
    printed: Printed
    """The number in `unit`, the words, or None for an empty cell. 117M is 117000000."""
    text: str
    """As printed: "117M", "6,341", "[2, 11]"."""
    unit: Unit
    agree: Agreement
    means: Printed = None
    """What is compared with the computed value, where that is not `printed`: "DPM++(3M) SDE" is dpmpp_3m_sde."""
    table: str | None = None
    row: str | None = None
    column: str | None = None
    run: str | None = None
    """The job that the number belongs to: "table1/E"."""
    method: str | None = None
    """The method's name as printed, in tables that compare methods."""
    cites: str | None = None
    """Whose number it is, for competitors' rows."""
    samples: int | None = None
    """How many samples a measured number rests on, where it is not the job's own count."""
    check: Check | None = None
    needs: Needs | None = None
    expect: Expectation = "holds"
    reason: str = ""
    """Why an erratum is expected, and what does hold."""
    citation: str = ""
    """The other source that an expected erratum rests on."""
    note: str = ""
    file: str = ""
    line: int = 0

    @property
    def value(self) -> Printed:
        """What a computed value is held against."""
        return self.printed if self.means is None else self.means


class Column(NamedTuple):
    """A column of a printed table."""

    key: str
    title: str


class Row(NamedTuple):
    """A row of a printed table. `group` is the sub-heading it stands under."""

    key: str
    label: str
    group: str
    run: str | None


class Table(NamedTuple):
    """How a printed table lies: the cell of `row` and `column` is the claim `table/row/column`."""

    id: str
    edition: int
    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
