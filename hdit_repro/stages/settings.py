"""What a stage may be told that cannot change its numbers, and how it tells of its progress. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hdit_repro.errors import UserError
from hdit_repro.spec.base import Spec, require


class HowToTrain(Spec, frozen=True, kw_only=True):
    """How a training runs here, which cannot change its numbers but for the order of sums; `[training]` in a cluster's
    profile, options of `train`.

    Attributes:
        microbatch: draws that go through the network at once in each process; 0 is all of them, or on a card as many
            as fit by the estimate, recomputed where not even one does.
        recompute: keep only each layer's input in the forward pass and compute the rest again: less memory, more time.
        compile: torch.compile the network.
        deterministic: only kernels that give the same bits each time, so that a resumed run on a GPU ends with the
            same bits; slower (`benchmarks/train_step.py --deterministic` says how much on a given card).
        unreadable: what a damaged image does: "fatal" ends the run, "skip" takes the next one that can be read in its
            place, says so in metrics.events.jsonl and counts them in final.json. A file that the system refuses to
            read ends the run either way.
        ema_decays: further averages of the weights, kept beside the run's own.
        snapshots: steps at which the averages are kept for evaluation; one beyond a run's end is refused.
        tensorboard: write scalars for TensorBoard beside metrics.jsonl.
        save_seconds: seconds between checkpoints.
        log_every: steps between lines of metrics.jsonl.
    """

    microbatch: int = 0
    recompute: bool = False
    compile: bool = False
    deterministic: bool = False
    unreadable: Literal["fatal", "skip"] = "fatal"
    ema_decays: tuple[float, ...] = ()
    snapshots: tuple[int, ...] = ()
    tensorboard: bool = False
    save_seconds: float = 600.0
    log_every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.microbatch >= 0, f"microbatch is 0 (all at once) or more, and {self.microbatch} is found")
        for decay in self.ema_decays:
            require(0 <= decay < 1, f"ema_decays lie in [0, 1), such as 0.999, and {decay:g} does not")
        require(all(step >= 1 for step in self.snapshots), "steps at which averages are kept start at 1")
        require(0 <= self.save_seconds < math.inf, "save_seconds is a finite number, and not negative")
        require(self.log_every >= 1, "log_every starts at 1")


Way = Literal["eager", "compile", "graph"]


class HowToSample(Spec, frozen=True, kw_only=True):
    """How samples are drawn here, which cannot change them but for the order of sums; `[sampling]` in a cluster's
    profile, options of `sample`.

    Attributes:
        network: how it is called: "eager" as it is, "compile" by torch.compile (the first call takes a minute and
            more), "graph" replayed as a CUDA graph, which spares a card's host its work; a CPU calls it as it is.
    """

    network: Way = "eager"


MAX_THREADS = 1024
"""Of one process. Many times more make the system end it without a word."""


@dataclass(frozen=True)
class Settings:
    """How a stage runs here.

    Attributes:
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".
        threads: CPU threads of this process; 0 leaves torch's choice.
        batch: samples a forward pass of sampling.
        keep_images: whether samples are kept beside their features; "auto" keeps them up to 256 MiB, "zip" and "npz"
            keep all of them and write them out in that format when the last one is there, "none" keeps the first 64.
        distributed: how a training's processes find each other: "auto" (RANK, WORLD_SIZE and the like, where they are
            set), "slurm" (SLURM's own variables), "none" (one process).
        time_limit: seconds after which a training saves and leaves; 0 is never.
        training: the rest of how a training runs.
        sampling: how samples are drawn.
    """

    device: str = "auto"
    threads: int = 0
    batch: int = 64
    keep_images: Literal["auto", "zip", "npz", "none"] = "auto"
    distributed: Literal["auto", "slurm", "none"] = "auto"
    time_limit: float = 0.0
    training: HowToTrain = field(default_factory=HowToTrain)
    sampling: HowToSample = field(default_factory=HowToSample)

    def __post_init__(self) -> None:
        """Refuse what no machine has.

        Raises:
            UserError: a number of threads that cannot be.
        """
        if not 0 <= self.threads <= MAX_THREADS:
            raise UserError(
                "there cannot be so many threads",
                found=f"--threads {self.threads}",
                expected=f"0 to {MAX_THREADS}",
                fix="leave --threads out for torch's choice",
            )


class Progress(NamedTuple):
    """How far a stage is."""

    stage: str
    done: int
    total: int
    note: str = ""
    values: dict[str, float] = {}  # noqa: RUF012


Report = Callable[[Progress], None]
