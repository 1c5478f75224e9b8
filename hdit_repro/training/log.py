"""metrics.jsonl: one JSON object a logged step, appended, and cut back to the resumed step after a restart."""

from __future__ import annotations

import json
from pathlib import Path

from hdit_repro.files import write_text


class MetricsLog:
    """Appends steps to a file. A process that begins with `steps_done` steps behind it drops later lines first."""

    def __init__(self, path: Path, steps_done: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= steps_done]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def append(self, values: dict[str, float | int]) -> None:
        """Add one step's values; they must hold `step`."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """All whole lines of a metrics.jsonl; a line cut off by a crash is left out."""
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[str]:
    """Lines that are JSON objects with a step."""
    if not path.exists():
        return []
    whole = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if "step" in json.loads(line):
                whole.append(line)
        except (json.JSONDecodeError, TypeError):
            continue
    return whole
