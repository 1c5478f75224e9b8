"""What this machine has, and what computes here. No torch."""

from __future__ import annotations

import os
import subprocess

from hdit_repro.errors import UserError

NEIGHBORHOOD = "HDIT_REPRO_NEIGHBORHOOD"
"""Names the backend of neighborhood attention, where it is not to be chosen by what is here."""

BACKENDS = ("natten", "torch-flex", "natten-flex", "tiled")
"""Those that there are (`models/backends.py`)."""


def asked_backend() -> str:
    """The backend of neighborhood attention that the environment asks for; empty where it asks for none.

    Raises:
        UserError: there is none of that name.
    """
    asked = os.environ.get(NEIGHBORHOOD, "")
    if asked and asked not in BACKENDS:
        raise UserError(
            f"{NEIGHBORHOOD} names no backend of neighborhood attention",
            found=asked,
            expected=", ".join(BACKENDS),
            fix=f"unset {NEIGHBORHOOD}, or export {NEIGHBORHOOD}=tiled",
        )
    return asked


def cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ask_driver(*arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """What nvidia-smi answers; a driver that fails may say anything.

    Raises:
        OSError, subprocess.TimeoutExpired: it is not there, or gives no answer in `timeout` seconds.
    """
    command = ["nvidia-smi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
