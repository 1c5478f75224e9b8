"""What a stage may be told that cannot change its numbers, and how it tells of its progress. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


@dataclass(frozen=True)
class Settings:
    """How a stage runs here.

    Attributes:
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".
        threads: CPU threads of this process; 0 leaves torch's choice.
        batch: samples a forward pass of sampling.
        save_seconds: seconds between checkpoints.
        log_every: steps between lines of metrics.jsonl.
        keep_images: whether samples are kept beside their features; "auto" keeps them up to 256 MiB.
    """

    device: str = "auto"
    threads: int = 0
    batch: int = 64
    save_seconds: float = 600.0
    log_every: int = 10
    keep_images: Literal["auto", "yes", "no"] = "auto"


class Progress(NamedTuple):
    """How far a stage is."""

    stage: str
    done: int
    total: int
    note: str = ""
    values: dict[str, float] = {}  # noqa: RUF012


Report = Callable[[Progress], None]


@dataclass
class Quiet:
    """A report that remembers the last progress and prints nothing."""

    last: Progress | None = field(default=None)

    def __call__(self, progress: Progress) -> None:
        self.last = progress
