"""A measurement in parts that are kept as they are done, so that it may be cut off at any time and go on."""

from __future__ import annotations

import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hdit_repro.files import read_json, write_json
from hdit_repro.launch.throughput import FORMAT
from hdit_repro.records.provenance import checkout_source, package_versions

CHECKOUT = Path(__file__).resolve().parents[2]
SAME = ("card", "torch", "cuda", "commit")
"""What a file's machine must agree in for a measurement to go on in it."""
TRACE = 4000
"""Characters of an exception's trace that are kept."""


@dataclass
class Bench:
    """Where and how to measure, and what has been found so far.

    Attributes:
        device: the card, or a CPU with `tiny`.
        tiny: small networks and short times: shows that everything runs, and its numbers mean nothing.
        seconds: how long a timing may take.
        authors: folder of the authors' code, or None.
        found: part -> its numbers.
        failed: what is known of parts that failed or were cut off before; they come last.
    """

    device: torch.device
    tiny: bool
    seconds: float
    authors: Path | None = None
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def scale(self) -> str:
        return "smoke" if self.tiny else "paper"

    def bfloat16_rate(self) -> float | None:
        """Measured floating-point operations a second of a large bfloat16 product."""
        return self.found.get("matrix/bfloat16", {}).get("flops_per_s")

    def copy_rate(self) -> float | None:
        """Measured bytes a second, read and written, of a large copy."""
        return self.found.get("copy", {}).get("bytes_per_s")


@dataclass(frozen=True)
class Part:
    """One measurement: its name, what takes it, and how many seconds that may take on a card, compilers included."""

    name: str
    work: Callable[[Bench], dict[str, Any]]
    seconds: float = 10.0


def machine(device: torch.device, command: Sequence[str]) -> dict[str, Any]:
    """Card, driver, versions, commit and command."""
    source = checkout_source(CHECKOUT)
    facts: dict[str, Any] = {
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "driver": driver_version() if device.type == "cuda" else "",
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda or ""),
        "python": platform.python_version(),
        "packages": package_versions(),
        "commit": source.commit,
        "dirty": source.dirty,
        "command": shlex.join(["python", *command]),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        facts["memory_gib"] = torch.cuda.get_device_properties(device).total_memory / 2**30
    return facts


def driver_version(path: Path = Path("/sys/module/nvidia/version")) -> str:
    """The driver's version as the system tells it, or "unknown"."""
    return path.read_text().strip() if path.exists() else "unknown"


def begin(path: Path, bench: Bench, command: Sequence[str]) -> dict[str, Any]:
    """The file's content to go on from, or a new one; `bench` gets what was found before.

    A file of another card, version or commit is another measurement and begins anew.
    """
    here = machine(bench.device, command)
    fresh = {"format": FORMAT, "tiny": bench.tiny, "machine": here, "parts": {}}
    if not path.exists():
        return fresh
    tree = read_json(path)
    same = tree.get("tiny") == bench.tiny and all(tree["machine"].get(key) == here[key] for key in SAME)
    if not same:
        print(f"{path} is of another card, version or commit: measuring anew", file=sys.stderr)
        return fresh
    for name, part in tree["parts"].items():
        (bench.failed if "error" in part else bench.found)[name] = part
    return tree


def measure(parts: Sequence[Part], bench: Bench, path: Path, tree: dict[str, Any], limit: float) -> bool:
    """Take the parts that are missing, each kept when it is done; False when some are left for another process.

    A part that may take longer than there is time is left, unless it is the first. A part that fails, or that is cut
    off with the process, is kept with its error and tried again by the next run, when all others have had their turn:
    one that never ends keeps none of them back. After an error past which a card does not answer all others are left.
    """
    began, taken = time.monotonic(), 0
    todo = [part for part in parts if part.name not in bench.found]
    for part in sorted(todo, key=lambda part: part.name in bench.failed):
        expected = part.seconds if taken and not bench.tiny else 0.0
        if limit and time.monotonic() - began + expected > limit:
            continue
        take(part, bench, path, tree)
        taken += 1
        if not answers(bench.device):
            print("the card no longer answers; the rest is left to a fresh process", file=sys.stderr)
            break
    return taken == len(todo)


def take(part: Part, bench: Bench, path: Path, tree: dict[str, Any]) -> None:
    """One part, kept with its error where it fails."""
    started = time.monotonic()
    tree["parts"][part.name] = bench.failed.get(part.name, {}) | {"error": "it was cut off"}
    write_json(path, tree)
    values = attempt(part, bench)
    values["took_s"] = round(time.monotonic() - started, 2)
    tree["parts"][part.name] = values
    if "error" not in values:
        bench.found[part.name] = values
    write_json(path, tree)
    print(f"{part.name}: {values.get('error') or values.get('skipped') or 'done'} ({values['took_s']:.1f} s)",
          file=sys.stderr)  # fmt: skip


def attempt(part: Part, bench: Bench) -> dict[str, Any]:
    """The part's numbers, or why there are none."""
    try:
        return part.work(bench)
    except Exception as error:
        return why(error)


def why(error: Exception) -> dict[str, Any]:
    """What is kept of an exception: a line, and the end of its trace, which is printed too."""
    trace = "".join(traceback.format_exception(error))[-TRACE:]
    print(trace, file=sys.stderr)
    said = str(error).strip().partition("\n")[0]
    return {"error": f"{type(error).__name__}: {said}", "trace": trace}


def answers(device: torch.device) -> bool:
    """Give the device's memory back and wait for it; False where it is past that, as a card is after some errors."""
    try:
        torch.compiler.reset()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
    except Exception as error:
        why(error)
        return False
    return True
