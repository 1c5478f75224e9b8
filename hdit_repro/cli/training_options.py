"""Options of `train` that change how a run is computed and not what it is."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import typer

from hdit_repro.errors import UserError


class Find(StrEnum):
    """How the processes of a training find each other."""

    auto = "auto"
    slurm = "slurm"
    none = "none"


class OnUnreadable(StrEnum):
    """What becomes of a run that meets a damaged image."""

    fatal = "fatal"
    skip = "skip"


def finite(value: float) -> float:
    """A time that is a number.

    Raises:
        UserError: it is infinite, or no number.
    """
    if not math.isfinite(value):
        raise UserError(
            "a time is a finite number",
            found=f"{value:g}",
            expected="0 or more",
            fix="leave the option out for its default",
        )
    return value


Distributed = Annotated[
    Find,
    typer.Option("--distributed", help="Processes by torchrun's variables, SLURM's, or only one."),
]
Microbatch = Annotated[
    int,
    typer.Option(
        "--microbatch",
        metavar="N",
        min=0,
        help="Draws at once in each process; 0 is all of its part, or on a card as many as fit.",
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        "--time-limit",
        metavar="SECONDS",
        min=0.0,
        callback=finite,
        help="Save and leave (exit code 75) after so long; 0 is never.",
    ),
]
Unreadable = Annotated[
    OnUnreadable, typer.Option("--unreadable", help="A damaged image ends the run, or the next is taken.")
]
EmaDecay = Annotated[
    list[float] | None,
    typer.Option("--ema-decay", metavar="D", help="Keep another average too; repeatable."),
]
Snapshot = Annotated[
    list[int] | None, typer.Option("--snapshot", metavar="STEP", min=1, help="Keep the averages there; repeatable.")
]
Recompute = Annotated[
    bool, typer.Option("--recompute", help="Compute activations again in the backward pass: less memory, more time.")
]
Compiled = Annotated[bool, typer.Option("--compile", help="torch.compile the network.")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Only kernels that give the same bits each time; slower on a GPU.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write scalars for TensorBoard beside metrics.jsonl.")]
SaveSeconds = Annotated[
    float, typer.Option("--save-seconds", metavar="SECONDS", min=0.0, callback=finite, help="Between checkpoints.")
]
LogEvery = Annotated[int, typer.Option("--log-every", metavar="STEPS", min=1, help="Between lines of metrics.jsonl.")]
