"""`doctor`: what works here, and the command that mends what does not."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, remark

if TYPE_CHECKING:
    from hdit_repro.cli.checks import Check

app = group()

MARKS = {"works": "ok  ", "limited": "--  ", "broken": "BAD "}


@app.command("doctor")
def doctor(
    experiment: Annotated[
        str, typer.Option("--for", metavar="EXPERIMENT", help="The experiment whose room on the disk is asked for.")
    ] = "table1",
    scale: options.Scale = "smoke",
    as_objects: options.Json = False,
) -> None:
    """Look at everything that runs rest on and say how to mend what is broken; exit 1 if anything is.

    Example: hdit-repro doctor --for table1 --scale smoke
    """
    from hdit_repro.cli.checks import SUBJECTS, disk

    checks: list[Check] = []
    looks = (check for look in SUBJECTS.values() for check in look())
    for check in chain(looks, disk(experiment, scale)):
        checks.append(check)
        if not as_objects:
            _show(check)
    broken = sum(check.state == "broken" for check in checks)
    if as_objects:
        as_json([check._asdict() for check in checks])
    else:
        limited = sum(check.state == "limited" for check in checks)
        remark(f"{len(checks) - broken - limited} work, {limited} are left out here, {broken} are broken")
    if broken:
        raise typer.Exit(1)


def _show(check: Check) -> None:
    data(f"{MARKS[check.state]}{check.subject:<26} {check.found}")
    if check.fix:
        data(f"{'':<31}fix: {check.fix}")
