"""Why stages failed, in an error's lines: for commands that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hdit_repro.cli.output import near

if TYPE_CHECKING:
    from hdit_repro.launch.submit import Failure


def reasons(failures: Sequence[Failure]) -> str:
    """What failed and why, each reason once: rows that share their images fail of one of them alike."""
    alike: dict[str, list[Failure]] = {}
    for failure in failures:
        alike.setdefault(failure.error, []).append(failure)
    return "\n".join(_reason(error, members) for error, members in alike.items())


def _reason(error: str, failures: Sequence[Failure]) -> str:
    """Which stages failed of an error, what it found and advises, and a log with it."""
    problem, *more = error.splitlines() or [""]
    names = ", ".join(f"{failure.run} {failure.stage}" for failure in failures)
    return "\n".join([f"{names}: {problem} (log: {near(failures[0].log)})", *more])
