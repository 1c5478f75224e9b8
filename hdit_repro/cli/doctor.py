"""`doctor`: what works here, and the command that mends what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import advice, as_json, data, group, hanging, remark, width
from hdit_repro.errors import UserError

if TYPE_CHECKING:
    from hdit_repro.cli.checks import Check

app = group()

ELSEWHERE = {"data": "HDIT_REPRO_DATA", "weights": "HDIT_REPRO_CACHE", "references": "HDIT_REPRO_CACHE"}
"""Of a subject, the variable that names another place for it."""

MARKS = {"works": "ok  ", "limited": "--  ", "broken": "BAD "}


@app.command("doctor")
def doctor(
    experiment: Annotated[
        str, typer.Option("--for", metavar="EXPERIMENT", help="What is to be run: its attention, references and room.")
    ] = "table1",
    scale: options.Scale = "smoke",
    as_objects: options.Json = False,
) -> None:
    """Look at everything that runs rest on and say how to mend what is broken; exit 1 if anything is.

    Example: hdit-repro doctor --for table1 --scale smoke
    """
    from hdit_repro.launch.plan import wanted

    wanted(experiment, scale)  # a misspelt name is refused before anything slow is looked at
    checks: list[Check] = []
    for check in chain.from_iterable(looked(*each) for each in subjects(experiment, scale).items()):
        checks.append(check)
        if not as_objects:
            _show(check)
    broken = sum(check.state == "broken" for check in checks)
    if as_objects:
        as_json([check._asdict() for check in checks])
    else:
        limited = sum(check.state == "limited" for check in checks)
        remark(f"works: {len(checks) - broken - limited}, limited here: {limited}, broken: {broken}")
    if broken:
        raise typer.Exit(1)


def looked(subject: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """What one look finds; what the system refuses it, or what is written wrong, is a finding too, and ends no other
    look."""
    from hdit_repro.cli.checks import Check, refused

    try:
        yield from look()
    except UserError as error:
        yield Check(subject, "broken", f"{error.problem}: {error.found}", error.fix)
    except OSError as error:
        yield refused(subject, error, ELSEWHERE.get(subject, ""))


def subjects(experiment: str, scale: str) -> dict[str, Callable[[], Iterator[Check]]]:
    """What is looked at, in the order of the page; some of it for an experiment at a scale."""
    from hdit_repro.cli import checks, stock

    return {
        "python": checks.python,
        "packages": checks.packages,
        "torch": checks.torch_here,
        "attention": lambda: checks.attention(experiment, scale),
        "torchvision": checks.torchvision,
        "compile": checks.compiler,
        "slurm": checks.slurm,
        "data": stock.data_sets,
        "weights": stock.weights,
        "references": lambda: stock.references(experiment, scale),
        "disk": lambda: checks.disk(experiment, scale),
    }


def _show(check: Check) -> None:
    data("\n".join(hanging(f"{MARKS[check.state]}{check.subject:<26} ", check.found, width(sys.stdout))))
    if check.fix:
        data("\n".join(advice(f"{'':<31}fix: ", check.fix, width(sys.stdout))))
