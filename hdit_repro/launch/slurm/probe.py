"""What a node sees: the job of `cluster check`. It reports, and judges nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdit_repro.errors import RunError
from hdit_repro.files import cache_folder, is_locked, write_bytes, write_json
from hdit_repro.machine import ask_driver

HELD = "held"
"""A file in the folder on which the submitter holds a lock meanwhile: shards and stages rely on seeing each other's."""

WRITE_BYTES = 64 << 20


@dataclass(frozen=True)
class ProbeJob:
    """Runs on each task, and leaves `node-<rank>.json` in the folder that the submitter made.

    Attributes:
        folder: a folder of its own under the runs, with the file `token`, and `HELD` where the submitter is there.
        token: what that file holds.
    """

    folder: Path
    token: str

    def __call__(self) -> dict[str, Any]:
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        seen = {
            "host": socket.gethostname(),
            "node": os.environ.get("SLURMD_NODENAME", ""),
            "python": sys.version.split()[0],
            "time": time.time(),
            "sees_runs": self._token() == self.token,
            "sees_lock": self._sees_lock(),
            "requeues": shutil.which("scontrol") is not None,
            "gpus": gpus(),
            "write_mb_per_second": write_speed(self.folder / f".speed-{rank}"),
            "data": os.environ.get("HDIT_REPRO_DATA", ""),
            "data_there": Path(os.environ.get("HDIT_REPRO_DATA") or "/nonexistent").is_dir(),
            "cache": str(cache_folder()),
            "writes_cache": writes(cache_folder()),
            "weights": sorted(path.name for path in (cache_folder() / "weights").glob("*")),
            **torch_facts(),
        }
        write_json(self.folder / f"node-{rank}.json", seen)
        return seen

    def _token(self) -> str:
        try:
            return (self.folder / "token").read_text()
        except OSError:
            return ""

    def _sees_lock(self) -> bool:
        try:
            return is_locked(self.folder / HELD)
        except OSError:  # the file system has no locks
            return False


def gpus() -> list[str]:
    """GPUs that this job may use: by name from the driver, else by number from SLURM."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = ask_driver("--query-gpu=name", "--format=csv,noheader")
        if asked.returncode == 0:
            return [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    return [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]


def torch_facts() -> dict[str, Any]:
    """Version of torch, GPUs that it can use, and whether natten is there and with which kernels."""
    import torch

    try:
        import natten
    except ImportError:
        backend = "absent: neighborhood attention runs in plain torch"
    else:
        fused = bool(getattr(natten, "HAS_LIBNATTEN", False))
        backend = f"{natten.__version__}, {'with' if fused else 'without'} CUDA kernels"
    return {"torch": torch.__version__, "torch_gpus": torch.cuda.device_count(), "natten": backend}


def writes(folder: Path) -> bool:
    """Whether a file can be made in a folder, which is made where it is missing."""
    path = folder / f".probe-{socket.gethostname()}-{os.getpid()}"
    try:
        write_bytes(path, b"")
        path.unlink(missing_ok=True)
    except (OSError, RunError):
        return False
    return True


def write_speed(path: Path) -> float:
    """Megabytes a second of one file, written and synced; 0 where it cannot be written."""
    began = time.monotonic()
    try:
        with open(path, "wb") as file:
            file.write(os.urandom(1 << 20) * (WRITE_BYTES >> 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return 0.0
    finally:
        path.unlink(missing_ok=True)
    return WRITE_BYTES / 1e6 / (time.monotonic() - began)
