"""`results`: check, export, sign and upgrade the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, near, remark
from hdit_repro.errors import UserError

app = group()
results = group()
app.add_typer(results, name="results")


@results.callback()
def root() -> None:
    """Check, export, sign and upgrade the records of measurements.

    Example: hdit-repro results lint
    """


@results.command("lint")
def lint(as_objects: options.Json = False) -> None:
    """Check every record, and exit with 1 where one is damaged, edited, misplaced or measured otherwise than its row.

    Example: hdit-repro results lint
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.lint import lint as check

    found = check(workplace())
    if as_objects:
        as_json([{"file": str(problem.path), "problem": problem.reason} for problem in found.problems])
    else:
        for problem in found.problems:
            data(f"{near(problem.path)}: {problem.reason}")
    remark(f"{found.records} whole records, {len(found.problems)} problems")
    if found.problems:
        raise typer.Exit(1)


@results.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; its ending is .csv or .parquet.")],
    scale: options.Scale = "paper",
) -> None:
    """Write the records of a scale as one table, a line a metric.

    Example: hdit-repro results export results.csv --scale smoke
    """
    from hdit_repro.errors import pick
    from hdit_repro.jobs import SCALES
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.export import export as write
    from hdit_repro.records.store import load

    pick(dict.fromkeys(SCALES), scale, kind="scale")
    records, problems = load(workplace().records(scale))
    lines = write([record for record in records if record.scale == scale], path)
    data(near(path))
    remark(f"{lines} lines; {len(problems)} files left out")


@results.command("sign-off")
def sign_off(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="A record's file, or the first digits of its id.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who signs.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="In which words.")] = "",
) -> None:
    """Vouch for a record as it is, by its digest.

    Example: hdit-repro results sign-off 1f0c2d --by "A. Reviewer"
    """
    from hdit_repro.records.signoff import sign

    path = _find(record)
    data(near(sign(path, by, note)))
    remark(f"{by} vouches for {near(path)} as it is now")


@results.command("migrate")
def migrate() -> None:
    """Rewrite records of older schemas in the present one, but for signed ones, which are read as they are.

    Example: hdit-repro results migrate
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.store import upgrade

    roots = workplace()
    changed = 0
    for folder in dict.fromkeys((roots.results, roots.records("smoke"))):
        for path in sorted(folder.rglob("*.json")):
            try:
                done = upgrade(path)
            except UserError as error:
                remark(f"left as it is: {near(path)}: {error.problem}")
                continue
            if done:
                changed += 1
                data(near(path))
    remark(f"{changed} records rewritten")


def _find(record: str) -> Path:
    """The file of a record, by path or by the beginning of its evaluation id or digest.

    Raises:
        UserError: none or several fit.
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.store import load, place

    if Path(record).is_file():
        return Path(record)
    roots, found = workplace(), []
    for folder in dict.fromkeys((roots.results, roots.records("smoke"))):
        known = load(folder)[0]
        meant = [one for one in known if record in (one.evaluation_id[: len(record)], one.digest[: len(record)])]
        found += [place(folder, one) for one in meant]
    if len(found) == 1:
        return found[0]
    raise UserError(
        "no record is meant" if not found else "several records are meant",
        found=repr(record) if not found else ", ".join(path.stem for path in found),
        expected="a record's file, or the first digits of one id",
        fix="`hdit-repro report` shows the ids",
    )
