"""`verify`: every printed number of the paper against what its jobs, costs and records say."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, hanging, remark, table, width, wrapped
from hdit_repro.errors import UserError, counted, pick

if TYPE_CHECKING:
    from rich.console import Console

    from hdit_repro.audit import Finding
    from hdit_repro.records.schema import Record

app = group()

HEADERS = ("claim", "place", "printed", "computed", "status", "note")

COLOURS = {"holds": "green", "erratum": "red", "needs-run": "yellow", "measured": "blue"}
"""Of a status on a terminal."""

WIDE = 140
"""Columns of a terminal from which a line a claim can be read."""

RATIOS = {"claim": 5, "place": 5, "printed": 4, "computed": 3, "note": 9}
"""How a wide terminal's columns are shared out."""

WORDS = {"holds": "hold", "erratum": "are errata", "needs-run": "need a run or a source", "measured": "are measured"}
"""Of a status in the summary."""

OF_ONE = {
    "holds": "holds",
    "erratum": "is an erratum",
    "needs-run": "needs a run or a source",
    "measured": "is measured",
}
"""Of a status that one claim has."""


@app.command("verify")
def verify(
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="CLAIM", help="Show one claim's computation.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="Only holds, erratum, needs-run or measured.")
    ] = None,
    table_name: Annotated[
        str | None, typer.Option("--table", metavar="N", help="Only Table N; edition2-table5 is the second edition's.")
    ] = None,
    as_objects: options.Json = False,
) -> None:
    """Recompute every number that the paper prints, and exit with 1 where that brings a surprise.

    Example: hdit-repro verify --status erratum
    """
    from hdit_repro import paper
    from hdit_repro.audit import audit
    from hdit_repro.launch.clusters import workplace
    from hdit_repro.records.store import load

    ledger = paper.read()
    if explain is not None:
        if status is not None or table_name is not None:
            raise UserError(
                "one claim is explained whatever its status and table",
                found=f"--explain {explain} with --status or --table",
                expected="--explain alone",
                fix=f"hdit-repro verify --explain {explain}",
            )
        ledger.claim(explain)
    records, problems = load(workplace().results)
    findings = audit(ledger, records)
    shown = _chosen(findings, explain, status, table_name)
    if as_objects:
        as_json([_row(finding, steps=explain is not None) for finding in shown])
    elif explain is not None:
        for finding in shown:
            _explain(finding)
    else:
        _print(shown)
    for problem in problems:
        remark(f"no record: {problem.path}: {problem.reason}")
    for caveat in _caveats(records):
        remark(caveat)
    if len(shown) < len(findings):
        remark(f"shown: {_counts(shown)}; of all:")
    if _summary(findings):
        raise typer.Exit(1)


def _chosen(
    findings: Sequence[Finding], explain: str | None, status: str | None, table_name: str | None
) -> list[Finding]:
    """The findings that were asked for, the first edition's before the second's.

    Raises:
        UserError: no such status or table.
    """
    if status is not None:
        pick(WORDS, status, kind="status", where="--status")
    prefix = None
    if table_name is not None:
        tables = dict.fromkeys(finding.claim.id.partition("/")[0] for finding in findings)
        known = {name: None for name in tables if "table" in name}
        prefix = f"table{table_name}" if table_name.isdigit() else table_name
        pick(known, prefix, kind="table", where="--table")
    return [
        finding
        for finding in sorted(findings, key=lambda finding: finding.claim.edition)
        if explain in (None, finding.claim.id)
        and status in (None, finding.status)
        and prefix in (None, finding.claim.id.partition("/")[0])
    ]


def _row(finding: Finding, *, steps: bool) -> dict[str, Any]:
    row = finding.as_row()
    return {**row, "steps": list(finding.steps)} if steps else row


def _print(findings: Sequence[Finding]) -> None:
    """One line a claim; on a terminal, as its width allows and with the status in colour."""
    from hdit_repro.audit.computed import say

    cells = [
        (
            finding.claim.id,
            finding.claim.place,
            finding.claim.text,
            "" if finding.computed is None else say(finding.computed),
            finding.status,
            finding.note,
        )
        for finding in findings
    ]
    if sys.stdout.isatty():
        _print_terminal(cells)
    else:
        table(HEADERS, cells)


def _print_terminal(cells: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    (_print_wide if console.width >= WIDE else _print_narrow)(console, cells)


def _print_wide(console: Console, cells: Sequence[tuple[str, ...]]) -> None:
    """A table, of which the note takes what is left."""
    from rich.table import Table
    from rich.text import Text

    sheet = Table(box=None, pad_edge=False, expand=True)
    for header in HEADERS:
        sheet.add_column(header, overflow="fold", no_wrap=header == "status", ratio=RATIOS.get(header))
    for *plain, status, note in cells:
        sheet.add_row(*map(Text, plain), Text(status, style=COLOURS[status]), Text(note))
    console.print(sheet)


def _print_narrow(console: Console, cells: Sequence[tuple[str, ...]]) -> None:
    """A block a claim: status and name, place with both values, the note below."""
    from rich.padding import Padding
    from rich.text import Text

    indent = 2 + max(map(len, COLOURS))
    for claim, place, printed, computed, status, note in cells:
        console.print(Text.assemble((status.ljust(indent), COLOURS[status]), (claim, "bold")))
        values = f"printed {printed}" + (f", computed {computed}" if computed else "")
        for line in (f"{place}: {values}", note):
            if line:
                console.print(Padding(Text(line), (0, 0, 0, indent)))


def _explain(finding: Finding) -> None:
    """A claim, its computation and its verdict, line by line."""
    claim = finding.claim
    status = f"{finding.status}{', which the ledger does not expect' if finding.surprise else ''}"
    lines = [
        ("printed", f"{claim.text} ({claim.unit.value})"),
        *(("", step) for step in finding.steps),
        ("status", status),
        *([("note", finding.note)] if finding.note else []),
    ]
    data("\n".join(wrapped(f"{claim.id}: {claim.place}, edition {claim.edition}", width(sys.stdout))))
    for name, text in lines:
        data("\n".join(hanging(f"{name:<10}", text, width(sys.stdout))))


def _summary(findings: Sequence[Finding]) -> list[Finding]:
    """Say the counts and name the surprises on stderr; the surprises come back."""
    computed = sum(finding.claim.check is not None for finding in findings)
    remark(f"{_counts(findings)}; {computed} computed here")
    for said in _rules(findings):
        remark(said)
    surprises = [finding for finding in findings if finding.surprise]
    for finding in surprises:
        what = "an erratum that is not expected" if finding.status == "erratum" else "an expected erratum is not found"
        what = "no value" if finding.computed is None and finding.status == "erratum" else what
        remark(f"surprise: {finding.claim.id} ({finding.claim.place}): {what}; {finding.note}")
    if not surprises:
        errata = sum(finding.status == "erratum" for finding in findings)
        remark(f"all as expected, {errata} errata among them")
    return surprises


def _counts(findings: Sequence[Finding]) -> str:
    """How many claims have which status, in words."""
    found = Counter[str](finding.status for finding in findings)
    words = (f"{found[status]} {OF_ONE[status] if found[status] == 1 else text}" for status, text in WORDS.items())
    return f"{counted(len(findings), 'claim')}: {', '.join(words)}"


def _rules(findings: Sequence[Finding]) -> list[str]:
    """What was measured: how many verdicts of which kind, and the rule behind them."""
    from hdit_repro.audit.decide import RULE
    from hdit_repro.audit.findings import count_rows
    from hdit_repro.audit.orders import ORDER_RULE

    said = []
    for what, rule, order in (("printed numbers", RULE, False), ("claims of order", ORDER_RULE, True)):
        found = [f for f in findings if f.verdict and (f.status != "measured") == order]
        if found:
            outcomes = Counter(f.verdict.outcome for f in found if f.verdict)
            words = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            rows = (
                ""
                if order
                else f" of {counted(count_rows(f.claim for f in found), 'row')}, each wherever it is printed"
            )
            said.append(f"verdicts on {what}{rows}: {words}. {rule}")
    return said


def _caveats(records: Sequence[Record]) -> list[str]:
    """Records of paper scale that count nowhere, and those that no commit explains."""
    from hdit_repro.records.lint import difference
    from hdit_repro.records.rows import index

    measured = [record for record in records if record.scale == "paper"]
    said = [
        f"left out of {group.kept[0].names[0]}: {', '.join(one.evaluation_id for one in group.aside)}, measured "
        f"otherwise than the row's other records ({difference(group.aside[0], group.kept[0])})"
        for group in index(measured).values()
        if group.aside
    ]
    if changed := [record for record in measured if record.provenance.dirty]:
        rows = ", ".join(dict.fromkeys(record.names[0] for record in changed))
        made = counted(len(changed), "record")
        said.append(f"{made} made by code with uncommitted changes, which no commit explains: {rows}")
    return said
