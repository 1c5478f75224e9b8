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
        keep_images: whether samples are kept beside their features; "auto" keeps them up to 256 MiB, "zip" and "npz"
            keep all of them and write them out in that format when the last one is there, "none" keeps the first 64.
        distributed: how a training's processes find each other: "auto" (RANK, WORLD_SIZE and the like, where they are
            set), "slurm" (SLURM's own variables), "none" (one process).
        microbatch: draws that go through the network at once in each process of a training; 0 is all of them, or on
            a card as many as fit by the estimate, recomputed where not even one does.
        time_limit: seconds after which a training saves and leaves; 0 is never.
        unreadable: what an image that cannot be read does to a training: "fatal" ends it, "skip" takes the next image
            in its place and says so in the events and the summary.
        ema_decays: further averages of the weights, kept beside the run's own.
        snapshots: steps at which the averages are kept for evaluation.
        recompute: keep only each layer's input in the forward pass and compute the rest again: less memory, more time.
        compiled: torch.compile the network.
        deterministic: only kernels that give the same bits each time, so that a resumed run on a GPU ends with the
            same bits; slower (`benchmarks/train_step.py --deterministic` says how much on a given card).
        tensorboard: write scalars for TensorBoard beside metrics.jsonl.
    """

    device: str = "auto"
    threads: int = 0
    batch: int = 64
    save_seconds: float = 600.0
    log_every: int = 10
    keep_images: Literal["auto", "zip", "npz", "none"] = "auto"
    distributed: Literal["auto", "slurm", "none"] = "auto"
    microbatch: int = 0
    time_limit: float = 0.0
    unreadable: Literal["fatal", "skip"] = "fatal"
    ema_decays: tuple[float, ...] = ()
    snapshots: tuple[int, ...] = ()
    recompute: bool = False
    compiled: bool = False
    deterministic: bool = False
    tensorboard: bool = False


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
