"""The check that decides between readings of a cell: which of them gives what other cells print. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from hdit_repro.audit.agreement import agrees
from hdit_repro.audit.bench import Bench
from hdit_repro.audit.computed import Computed, say
from hdit_repro.errors import UserError
from hdit_repro.paper import checks
from hdit_repro.spec.run import Run

Compute = Callable[[checks.Check, Bench], Computed]


def reading(check: checks.Reading, bench: Bench, compute: Compute) -> Computed:
    """The one candidate under which the run gives what all targets print; said so where none or several do.

    Args:
        compute: carries out the check of a target.

    Raises:
        UserError: a candidate sets what no run has, or a target has no check.
    """
    fitting: list[checks.Value] = []
    steps: list[str] = []
    for candidate in check.candidates:
        changed = _changed(bench.run(check.run), candidate)
        if isinstance(changed, str):
            steps.append(f"{say(candidate.value)}: cannot be, {changed}")
            continue
        fits, words = _targets(check, bench.with_run(check.run, changed), compute)
        steps.append(f"{say(candidate.value)}: {'; '.join(words)}")
        if fits:
            fitting.append(candidate.value)
    if len(fitting) == 1:
        return Computed(fitting[0], (*steps, f"only {say(fitting[0])} gives what is printed"))
    value = "several: " + ", ".join(map(say, fitting)) if fitting else "none"
    return Computed(value, (*steps, f"the candidates do not decide it: {value}"), holds=False)


def _targets(check: checks.Reading, bench: Bench, compute: Compute) -> tuple[bool, list[str]]:
    """Whether all targets come out as printed, and what each comes to."""
    fits, words = True, []
    for name in check.targets:
        claim = bench.ledger.claim(name)
        if claim.check is None:
            raise UserError(
                "a reading is decided by claims that are computed",
                found=f"{name!r} has no check",
                expected="claims with a check",
                fix="leave the name out of the reading, or give the claim a check",
            )
        try:
            computed = compute(claim.check, bench)
        except UserError as error:
            fits = False
            words.append(f"{name} cannot be computed ({error.problem})")
            continue
        good = agrees(claim, computed)
        fits &= good
        words.append(f"{name} comes to {say(computed.value)} {'as' if good else 'against'} the printed {claim.text}")
    return fits, words


def _changed(run: Run, candidate: checks.Candidate) -> Run | str:
    """The run with the candidate's values, or why there can be none."""
    tree: dict[str, Any] = msgspec.to_builtins(run)
    for path, value in candidate.set.items():
        *outer, last = path.split(".")
        inside = tree
        for name in outer:
            inside = inside.get(name) if isinstance(inside, dict) else None  # type: ignore[assignment]
        if not isinstance(inside, dict) or last not in inside:
            raise UserError(
                "a reading sets a field that the run does not have",
                found=path,
                expected="a field that `hdit-repro show` lists",
                fix="correct the reading in tables/paper/",
            )
        inside[last] = list(value) if isinstance(value, tuple) else value
    try:
        return msgspec.convert(tree, Run)
    except msgspec.ValidationError as error:
        return str(error).partition(" - at ")[0]
