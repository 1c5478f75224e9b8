"""The command `hdit-repro`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """`app.main`, which says what its arguments are; Ctrl-C while it is being loaded is told as at any other time."""
    try:
        from hdit_repro.cli.app import main as run
    except KeyboardInterrupt:
        print("stopped, and nothing was begun", file=sys.stderr)
        return 130
    return run(arguments)
