"""What the rest of the suite gets from a job file. No torch."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from hdit_repro.spec.base import Spec
from hdit_repro.spec.run import Run

Scale = Literal["paper", "mini", "smoke"]
SCALES: tuple[Scale, ...] = get_args(Scale)
"""In the order of their prices; a file `scales.toml` says what each but the first changes."""


class Paper(Spec):
    """Where the paper prints an experiment: edition (1 or 2) and table, figure or section."""

    edition: int = 1
    table: int | None = None
    figure: int | None = None
    section: str = ""


class Job(Spec):
    """One row of an experiment at one scale: a run, its names, and where each value comes from.

    `sources` maps dotted fields ("model.widths") to a remark ("Table 6", "inferred: ...", "fork: PATH"); `source_of`
    looks a field up there, or the nearest field around it.
    """

    experiment: str
    row: str
    label: str
    run: Run
    scale: str
    title: str = ""
    group: str = ""
    note: str = ""
    paper: Paper = Paper()
    sources: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the command line calls it: "table1/E", or "ffhq1024" where the experiment has one row of its name."""
        return self.experiment if self.row == self.experiment else f"{self.experiment}/{self.row}"

    @property
    def on_data(self) -> str:
        """What a command on the run needs besides, where it is on images of the user's own that no file declares."""
        return " --data PATH" if self.source_of("data.dataset") == "--data" else ""

    def source_of(self, field: str) -> str:
        """The remark on a field, or on the nearest field that contains it; empty where nobody said."""
        while field:
            if field in self.sources:
                return self.sources[field]
            field = field.rpartition(".")[0]
        return ""
