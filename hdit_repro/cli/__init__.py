"""The command `hdit-repro`."""

from __future__ import annotations

from hdit_repro.cli.app import main as main

__all__ = ["main"]
