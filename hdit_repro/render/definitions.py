"""The tables, declared: which experiment, which columns, where each comes from."""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.records.schema import FLOOR, LOSS_CONSTANT, LOSS_END, UNTRAINED
from hdit_repro.render.columns import (
    Column,
    Complexity,
    Context,
    Counted,
    Difference,
    FromLedger,
    Label,
    Ours,
    Parameters,
    Ratio,
    Smaller,
)

FORMATS = ("md", "tex", "csv")
DHARIWAL_NICHOL = "FID by the implementation of Dhariwal & Nichol, 2021 (Section 5.1)"
"""What the paper says of its FID; it does not name the reference file."""

PAPER_SCALE = " (paper scale)"
"""Added, below paper scale, to the headings of what is not of that scale."""


class Table(NamedTuple):
    """A table.

    `ledger` is its name in tables/paper; `protocol` is what the paper says of how its numbers were measured; `costs`
    says that costs stand in it and need their notes.
    """

    name: str
    number: int
    experiment: str
    columns: tuple[Column, ...]
    ledger: str
    protocol: str
    title: str = ""
    scales: tuple[str, ...] = ("paper", "mini", "smoke")
    formats: tuple[str, ...] = FORMATS
    costs: bool = False
    notes: tuple[str, ...] = ()


LABEL = Column("label", "", "Configuration", Label(), left=True)

FID = (
    Column("fid_printed", "FID", "printed", FromLedger("fid"), below=PAPER_SCALE),
    Column("ours", "{metric}", "ours", Ours(), below=", {scale}", measured=True),
    Column("difference", "FID", "ours − printed", Difference("fid"), scales=("paper",)),
)


def cost_columns(resolution: int) -> tuple[Column, Column]:
    """Printed and counted cost at a resolution (side in pixels)."""
    upper, key = f"GFLOP@{resolution}²", f"gflop-{resolution}"
    return (
        Column(f"gflop_{resolution}_printed", upper, "printed", FromLedger(key), below=PAPER_SCALE),
        Column(f"macs_{resolution}", upper, "counted", Counted(resolution, key), below=PAPER_SCALE),
    )


TABLE_1 = Table(
    name="table1",
    number=1,
    experiment="table1",
    ledger="table1",
    protocol=DHARIWAL_NICHOL,
    costs=True,
    columns=(
        LABEL,
        *FID,
        *cost_columns(128),
        *cost_columns(256),
        *cost_columns(512),
        Column("complexity_printed", "Complexity", "printed", FromLedger("complexity"), below=PAPER_SCALE),
        Column("complexity", "Complexity", "counted", Complexity(), below=PAPER_SCALE),
        Column("parameters", "Parameters", "counted", Parameters(), below=PAPER_SCALE),
    ),
)

TABLE_1_CHECKS = Table(
    name="table1-checks",
    number=1,
    experiment="table1",
    ledger="table1",
    protocol=DHARIWAL_NICHOL,
    title="did training do anything?",
    scales=("mini", "smoke"),
    formats=("md",),
    columns=(
        LABEL,
        Column("trained", "{metric}, {scale}", "trained", Ours(), measured=True),
        Column("untrained", "{metric}, {scale}", "untrained", Context(UNTRAINED)),
        Column("ratio", "{metric}, {scale}", "trained / untrained", Ratio(UNTRAINED)),
        Column("floor", "{metric}, {scale}", "floor", Context(FLOOR)),
        Column("loss_end", "Training loss", "end", Context(LOSS_END)),
        Column("loss_constant", "Training loss", "best constant", Context(LOSS_CONSTANT)),
        Column("loss_below", "Training loss", "below?", Smaller(LOSS_END, LOSS_CONSTANT)),
    ),
    notes=(
        "untrained: the same metric of samples of the run's initial weights.",
        "floor: the same metric between two random halves of the real images.",
        "best constant: the training loss of the best predictor that ignores its input.",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (TABLE_1, TABLE_1_CHECKS)}
