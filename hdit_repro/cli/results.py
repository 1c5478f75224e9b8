"""`results`: check, show, export, sign and upgrade the records."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import (
    as_json,
    data,
    files_left_out,
    group,
    must_be_whole,
    near,
    remark,
    table,
    width,
    wrapped,
)
from hdit_repro.errors import RunError, UserError, counted
from hdit_repro.spec.data import Folder

if TYPE_CHECKING:
    from hdit_repro.jobs import Job
    from hdit_repro.records.schema import Record

app = group()
results = group()
app.add_typer(results, name="results")


@results.callback()
def root() -> None:
    """Check, show, export, sign and upgrade the records of measurements.

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
            for line in wrapped(f"{near(problem.path)}: {problem.reason}", width(sys.stdout)):
                data(line)
    remark(f"{counted(found.records, 'whole record')}, {counted(len(found.problems), 'problem')}")
    if found.problems:
        raise typer.Exit(1)


@results.command("show")
def show(
    run: options.Run, scale: options.Scale = "paper", own: options.OwnData = None, as_objects: options.Json = False
) -> None:
    """Show every value behind a row's numbers, a line a record, and their means over training seeds.

    Example: hdit-repro results show table1/E --scale smoke
    """
    from hdit_repro import jobs
    from hdit_repro.audit.summary import summarise
    from hdit_repro.jobs.submitting import submitting
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.export import lines
    from hdit_repro.records.rows import index, of_row, set_aside
    from hdit_repro.records.store import load
    from hdit_repro.render.measured import in_words

    job = jobs.find(run, scale, dataset=options.own_data(own))
    whole, problems = load(workplace().records(scale))
    found = index(whole)
    records = of_row(found, scale, job.run)
    others = _on_other_images(whole, job) + _of_former_rows(whole, job)
    if not records:
        none = "are no whole records" if len(problems) > 1 else "is no whole record"
        broken = f"; {counted(len(problems), 'file')} there {none} (`hdit-repro results lint` says why)"
        raise UserError(
            "nothing is measured of this row",
            found=f"no record of {job.label if own else job.name} at {scale} scale"
            + "".join(f"; {phrase}" for phrase in others)
            + (broken if problems else ""),
            expected="at least one",
            fix=f"hdit-repro eval --run {quote(job.name)} --scale {scale}{options.on_data(own)}"
            if job.run.external
            else submitting(f"{quote(job.experiment)} --rows {quote(job.row)}", scale, options.on_data(own), wait=True),
        )
    files_left_out(len(problems))
    if as_objects:
        as_json(lines(records, {job.run.row_id: [job.name]}))
        return
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    heads = ("record", "seed", "sampling seed", *names)
    table(
        heads,
        [
            (
                record.evaluation_id,
                str(record.seed),
                str(record.sampling_seed),
                *(f"{record.metrics[name].value:.6g}" if name in record.metrics else "" for name in names),
            )
            for record in records
        ],
        right=heads[1:],
    )
    for name in names:
        if number := summarise(records, name):
            remark(in_words(number))
    for phrase in others:
        remark(f"there are also {phrase}")
    if aside := set_aside(found, scale, job.run):
        remark(f"left out, since they are measured otherwise: {', '.join(one.evaluation_id for one in aside)}")


def _on_other_images(records: Sequence[Record], job: Job) -> list[str]:
    """Phrases for the records of a row on images of the user's own that are not the job's, one a data set."""
    found = Counter(
        str(record.spec.data.dataset.name)
        for record in records
        if job.name in record.names
        and record.scale == job.scale
        and isinstance(record.spec.data.dataset, Folder)
        and record.spec.data != job.run.data
    )
    return [f"{counted(many, 'record')} on {name} (--data PATH shows them)" for name, many in found.items()]


def _of_former_rows(records: Sequence[Record], job: Job) -> list[str]:
    """A phrase for the records of a row of that name that asked for something else on the job's images."""
    many = sum(
        job.name in record.names
        and record.scale == job.scale
        and record.spec.data.dataset == job.run.data.dataset
        and record.spec.row_id != job.run.row_id
        for record in records
    )
    return [f"{counted(many, 'record')} of this row as it was before (in `hdit-repro results export`)"] if many else []


@results.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to: .csv or .parquet; replaces an export alone.")],
    scale: options.Scale = "paper",
) -> None:
    """Write the records of a scale as one table, a line a metric.

    Example: hdit-repro results export results.csv --scale smoke
    """
    from hdit_repro import jobs
    from hdit_repro.errors import pick
    from hdit_repro.jobs import SCALES
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.export import export as write
    from hdit_repro.records.store import load

    pick(dict.fromkeys(SCALES), scale, kind="scale")
    records, problems = load(workplace().records(scale))
    records = [record for record in records if record.scale == scale]
    asking = jobs.asking(scale, [record.spec for record in records])
    lines = write(records, path, asking)
    data(near(path))
    remark(f"{counted(lines, 'line')}; {counted(len(problems), 'file')} left out")
    if former := sum(record.spec.row_id not in asking for record in records):
        are = "is of a row that is" if former == 1 else "are of rows that are"
        remark(f"{counted(former, 'record')} {are} not there any more as measured: the column rows is empty")


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
    from hdit_repro.records.store import files, upgrade

    roots = workplace()
    changed, refused = 0, list[OSError]()
    for folder in dict.fromkeys((roots.results, roots.records("smoke"))):
        for path in files(folder, ".json", refused.append):
            try:
                done = upgrade(path)
            except RunError:  # a full disk, which the next record meets too
                raise
            except UserError as error:
                remark(f"left as it is: {near(path)}: {error.problem}")
                continue
            except PermissionError as error:
                refused.append(error)
                continue
            if done:
                changed += 1
                data(near(path))
    remark(f"{counted(changed, 'record')} rewritten")
    hidden = [error for error in refused if not isinstance(error, FileNotFoundError)]
    must_be_whole(hidden, "records that this user may not read or write were left as they are", "rwX")


def _find(record: str) -> Path:
    """The file of a record, by path or by the beginning of its evaluation id or digest.

    Raises:
        UserError: none or several fit.
    """
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.store import load, place

    if Path(record).is_file():
        return Path(record)
    roots, found, broken = workplace(), [], 0
    for folder in dict.fromkeys((roots.results, roots.records("smoke"))) if record else ():
        known, problems = load(folder)
        broken += len(problems)
        meant = [one for one in known if one.evaluation_id.startswith(record) or one.digest.startswith(record)]
        found += [place(folder, one) for one in meant]
    if len(found) == 1:
        return found[0]
    raise UserError(
        "no record is meant" if not found else "several records are meant",
        found=(repr(record) if not found else ", ".join(path.stem for path in found))
        + (f"; {counted(broken, 'file')} left out (`hdit-repro results lint` says why)" if broken else ""),
        expected="a record's file, or the first digits of one id",
        fix="`hdit-repro report` shows the ids",
    )
