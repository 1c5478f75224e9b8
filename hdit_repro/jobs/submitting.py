"""The command that measures rows, as messages, tables and the report suggest it. No torch."""

from __future__ import annotations

CLUSTER = "a100"
"""The profile that suggestions name; others are put in its place (`hdit-repro cluster list`)."""


def submitting(asked: str, scale: str, more: str = "", *, wait: bool = False) -> str:
    """`hdit-repro submit` of what is asked for, as it would be carried out: the paper's scale, which one machine
    refuses, on a cluster, and others here.

    Args:
        asked: an experiment, a row of it, or an experiment with `--rows`, quoted for a shell.
        scale: of the rows.
        more: further options, each with a space before it.
        wait: until all is done, where it runs on this machine.
    """
    if scale == "paper":
        return f"hdit-repro submit {asked} --cluster {CLUSTER}{more}"
    return f"hdit-repro submit {asked} --scale {scale}{' --wait' if wait else ''}{more}"
