"""metrics.jsonl: one JSON object a logged step, appended, and cut back to the resumed step after a restart."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hdit_repro.files import needing_room, read_bytes, sync, write_text

TIMED = ("images_per_s", "data_wait", "mfu", "memory_gib")
"""What depends on the machine and the moment. Everything else in a line is the same bits after any restart."""


class MetricsLog:
    """Appends steps to a file. A process that begins with `steps_done` steps behind it drops later lines first.

    Args:
        path: of the file.
        steps_done: by the run so far.
    """

    def __init__(self, path: Path, steps_done: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line, values in _whole_lines(path) if values["step"] <= steps_done]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def append(self, values: dict[str, Any]) -> None:
        """Add one step's values; they must hold `step`.

        Raises:
            RunError: the disk is full.
        """
        with needing_room(self.path, "room for a line"), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Make the lines so far durable; called before a checkpoint that they belong to is written."""
        sync(self.path)


def numbers(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what depends on the machine and the moment."""
    return {name: value for name, value in line.items() if name not in TIMED}


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics.jsonl; a line cut off by a crash, or spoilt by the disk, is left out."""
    return [values for _, values in _whole_lines(path)]


def _whole_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Lines that are JSON objects with a step, as text and as values."""
    if not path.exists():
        return []
    whole = []
    for line in read_bytes(path).splitlines():
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, no text
            text = line.decode()
            values = json.loads(text)
            if isinstance(values, dict) and isinstance(values.get("step"), int):
                whole.append((text, values))
    return whole
