"""The one place where tables ask the audit what the ledger's checks come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from hdit_repro.audit.agreement import agrees
from hdit_repro.audit.bench import Bench
from hdit_repro.audit.bills import Bills
from hdit_repro.audit.evaluate import compute
from hdit_repro.audit.fields import look, plain
from hdit_repro.audit.measured import METRICS, SCALE, Measurements
from hdit_repro.audit.verdicts import on_cell
from hdit_repro.paper import Claim, Ledger
from hdit_repro.paper.checks import Reading
from hdit_repro.records.schema import Record
from hdit_repro.render.cells import Value


class Verdict(NamedTuple):
    """A computed value in the claim's unit, and whether it is the printed one."""

    value: Value
    agrees: bool


Judge = Callable[[Mapping[str, Claim]], Mapping[str, Verdict]]
"""From a row's cells by column to the verdicts on those that have a check."""


def judge_of(ledger: Ledger) -> Judge:
    """A judge over a ledger and the job files as they are; each run is read once."""
    bench = Bench(ledger)
    return lambda claims: {column: _verdict(claim, bench) for column, claim in claims.items() if claim.check}


def judged(ledger: Ledger, records: Iterable[Record], scale: str) -> dict[str, str]:
    """The verdicts on measured cells by claim, in words; at paper scale only."""
    measurements = Measurements(records)
    if scale != SCALE or not measurements:
        return {}
    bills, bench = Bills(), Bench(ledger)
    found = {
        claim.id: on_cell(claim, bench.job(claim.run), measurements, bills)
        for claim in ledger
        if claim.unit in METRICS and claim.run and claim.needs == "run"
    }
    return {name: verdict.words for name, verdict in found.items() if verdict}


def _verdict(claim: Claim, bench: Bench) -> Verdict:
    """What the audit computes; where it decides between readings of a cell, what the job says there."""
    assert claim.check is not None
    computed = compute(claim.check, bench)
    value: Value = computed.value
    if isinstance(claim.check, Reading):
        field = next(iter(claim.check.candidates[0].set))
        value = plain(look(bench.run(claim.check.run), field), field)[0]
    return Verdict(value, agrees(claim, computed))
