"""The environment variables that the suite reads, for the README's table and for whoever misspells one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches

PREFIX = "HDIT_REPRO_"

VARIABLES = (
    "HDIT_REPRO_CACHE",
    "HDIT_REPRO_CLUSTER",
    "HDIT_REPRO_COMMIT",
    "HDIT_REPRO_DATA",
    "HDIT_REPRO_NEIGHBORHOOD",
    "HDIT_REPRO_OFFLINE",
    "HDIT_REPRO_RUNS",
    "HDIT_REPRO_WORKPLACE",
)


def unread() -> Iterator[str]:
    """A line for each variable of this process that bears our name and that nothing reads."""
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in VARIABLES:
            near = get_close_matches(name, VARIABLES, n=1)
            yield f"nothing reads ${name}" + (f"; did you mean {near[0]}?" if near else "")
