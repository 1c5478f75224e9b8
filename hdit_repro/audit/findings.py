"""What the audit says of each claim, and whether that is what the ledger expects. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from hdit_repro import jobs, paper
from hdit_repro.audit.agreement import agrees, rule
from hdit_repro.audit.bench import Bench
from hdit_repro.audit.bills import Bills
from hdit_repro.audit.computed import Computed, Impossible, Value, say
from hdit_repro.audit.decide import RULE
from hdit_repro.audit.evaluate import compute
from hdit_repro.audit.measured import METRICS, Measurements, against_print
from hdit_repro.audit.orders import on_orders
from hdit_repro.audit.verdicts import Verdict, on_cell
from hdit_repro.errors import UserError
from hdit_repro.paper import Claim, Ledger, Unit, checks
from hdit_repro.records.schema import Record

Status = Literal["holds", "erratum", "needs-run", "measured"]

UNMEASURED = (Unit.FD_DINOV2, Unit.KD_DINOV2)
"""Units of claims that no metric of the records measures."""


class Finding(NamedTuple):
    """A claim, what was computed or measured for it, and what that says.

    Attributes:
        computed: in the claim's unit; a list as the paper writes it; None where there is nothing to compute, or where
            the job leaves the check without a value.
        steps: the computation with its numbers.
        verdict: what our measurements say, where there are some; it changes neither status nor surprise.
    """

    claim: Claim
    computed: Value | None
    status: Status
    note: str
    steps: tuple[str, ...]
    verdict: Verdict | None = None

    @property
    def surprise(self) -> bool:
        """An erratum that the ledger does not expect, one that it expects and that is not there, or no value at all.

        What was measured never surprises: a difference between two runs is no contradiction by itself.
        """
        if self.claim.check is not None and self.computed is None:
            return True
        return self.status != "measured" and (self.status == "erratum") != (self.claim.expect == "erratum")

    def as_row(self) -> dict[str, Any]:
        """The finding as `verify --json` prints it."""
        claim = self.claim
        return {
            "claim": claim.id,
            "place": claim.place,
            "printed": claim.printed,
            "text": claim.text,
            "unit": claim.unit.value,
            "computed": self.computed,
            "status": self.status,
            "note": self.note,
            "verdict": self.verdict.outcome if self.verdict else None,
            "edition": claim.edition,
            "expected": not self.surprise,
        }


def audit(ledger: Ledger | None = None, records: Iterable[Record] = ()) -> list[Finding]:
    """Every claim of the ledger with its finding, in the ledger's order.

    Args:
        ledger: None is the project's own.
        records: measurements; those of paper scale are set beside the print.

    Raises:
        UserError: a check cannot be carried out; the message names the claim, its file and line.
    """
    ledger = paper.read() if ledger is None else ledger
    bench, bills, measurements = Bench(ledger), Bills(), Measurements(records)
    findings = [_finding(claim, bench, bills, measurements) for claim in ledger]
    orders = on_orders(ledger, measurements, bills)
    return [
        _ordered(finding, orders[finding.claim.id]) if finding.claim.id in orders else finding for finding in findings
    ]


def _ordered(finding: Finding, verdict: Verdict) -> Finding:
    """A claim of order, which print bears out or not by itself, with the verdict on what was measured."""
    words = f"measured: {verdict.words}"
    note = _joined([finding.note, words])
    return finding._replace(note=note, steps=(*finding.steps, words), verdict=verdict)


def _finding(claim: Claim, bench: Bench, bills: Bills, measurements: Measurements) -> Finding:
    try:
        return _computed(claim, claim.check, bench) if claim.check else _open(claim, bench, bills, measurements)
    except Impossible as error:
        words = f"the job leaves it without a value: {error.problem}" + (f" ({error.found})" if error.found else "")
        return Finding(claim, None, "erratum", words, (words,))
    except UserError as error:
        raise UserError(
            f"claim {claim.id!r} cannot be checked: {error.problem}",
            found=f"{error.found or claim.text} (claim at {claim.file}:{claim.line})",
            expected=error.expected,
            fix=error.fix,
        ) from error


def _computed(claim: Claim, check: checks.Check, bench: Bench) -> Finding:
    """A claim that a computation settles."""
    found = compute(check, bench)
    holds = agrees(claim, found)
    status: Status = "holds" if holds else "erratum"
    verdict = "" if found.holds is not None else f"{rule(claim)}; it is {say(_shown(claim, found))}"
    steps = (*found.steps, verdict) if verdict else found.steps
    return Finding(claim, _shown(claim, found), status, _note(claim, found, holds=holds), steps)


def _note(claim: Claim, found: Computed, *, holds: bool) -> str:
    """Why it is an erratum, or what a reader should know of what holds."""
    expected = claim.expect == "erratum"
    if holds:
        missing = f"an erratum was expected and is not found; expected was: {claim.reason}" if expected else ""
        return "; ".join(part for part in (missing, claim.note, found.remark) if part)
    shown = say(_shown(claim, found))
    if expected:
        source = f" [{claim.citation}]" if claim.citation else ""
        return f"{claim.reason}{source}"
    printed = "" if found.holds is not None else f" where {claim.text} is printed"
    return "; ".join(part for part in (f"not expected: {shown}{printed}", found.steps[-1], claim.note) if part)


def _shown(claim: Claim, found: Computed) -> Value:
    """The computed value; a list of equal members as that member, where the print is no list."""
    if found.members and str(claim.value)[:1] != "[" and len(set(found.members)) == 1:
        return found.members[0]
    return found.value


def _open(claim: Claim, bench: Bench, bills: Bills, measurements: Measurements) -> Finding:
    """A claim that no computation settles: measured, or what it would take."""
    if claim.needs == "citation" or claim.run is None:
        source = claim.cites or claim.method
        parts = [f"rests on the cited source: {source}", claim.note]
        return Finding(claim, None, "needs-run", _joined(parts), (f"no run of this suite settles it: {parts[0]}",))
    job = bench.job(claim.run)
    measured = measurements.of(claim, job.run)
    if measured is not None:
        words = against_print(measured, claim)
        verdict = on_cell(claim, job, measurements, bills)
        steps = (words, verdict.words, RULE) if verdict else (words,)
        note = _joined([verdict.words if verdict else "", words, claim.note])
        return Finding(claim, measured.mean, "measured", note, steps, verdict)
    parts = [bills.words(job), _missing(claim), claim.note]
    return Finding(claim, None, "needs-run", _joined(parts), bills.steps(job))


def _missing(claim: Claim) -> str:
    """What besides the run is missing."""
    if claim.printed is None:
        return "nothing is printed to compare it with"
    if claim.unit in UNMEASURED:
        return f"records know no {claim.unit.value}"
    return "" if claim.unit in METRICS else "read off the run, not a metric of its record"


def _joined(parts: list[str]) -> str:
    return "; ".join(part for part in parts if part)


def count_rows(claims: Iterable[Claim]) -> int:
    """How many different rows claims are about: one row is printed in several tables."""
    return len({jobs.find(claim.run).run.row_id for claim in claims if claim.run})
