"""How a network is trained. Plain values, no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from hdit_repro.spec.base import LARGEST, Choice, Spec, require, require_digest

Precision = Literal["float32", "tf32", "bfloat16"]
"""Of matrix products; weights, moments and averages are float32. TF32 is float32 where a CPU computes."""


LARGEST_BATCH = 2**31 - 1


class UniformGroups(Choice, tag="uniform"):
    """Every parameter learns at the same rate and decays alike."""


class KDiffusionGroups(Choice, tag="k-diffusion"):
    """The released code's groups: mapping network and norm scales learn at `mapping_rate` of the rate; only linear
    weights decay."""

    mapping_rate: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.mapping_rate >= 0, f"mapping_rate must not be negative, and {self.mapping_rate} is")


ParameterGroups = UniformGroups | KDiffusionGroups


class AdamW(Spec):
    """AdamW with a constant learning rate."""

    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    eps: float = 1e-8
    groups: ParameterGroups = msgspec.field(default_factory=KDiffusionGroups)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.learning_rate > 0, f"learning_rate must be positive, and {self.learning_rate} is not")
        require(all(0 <= beta < 1 for beta in self.betas), f"betas must be in [0, 1), and {list(self.betas)} are not")
        require(self.weight_decay >= 0, f"weight_decay must not be negative, and {self.weight_decay} is")
        require(self.eps > 0, f"eps must be positive, and {self.eps} is not")


class Ema(Spec):
    """Exponential moving average of the weights. At step i the decay is min(decay, 1 - (1 + i)^-warmup_power);
    a warmup_power of 0 means `decay` from the first step."""

    decay: float
    warmup_power: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.decay < 1, f"decay must be in [0, 1), and {self.decay} is not")
        require(self.warmup_power >= 0, f"warmup_power must not be negative, and {self.warmup_power} is")

    def decay_at(self, step: int) -> float:
        """The decay of step 0, 1, ... (k-diffusion's EMAWarmup)."""
        warm = 1 - (1 + step) ** -self.warmup_power if self.warmup_power else self.decay
        return min(self.decay, max(0.0, warm))


class Phase(Spec):
    """`steps` optimiser steps at a global batch of `batch` images."""

    steps: int
    batch: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1 and self.batch >= 1, "steps and batch start at 1")
        require(self.batch <= LARGEST_BATCH, f"batch is at most {LARGEST_BATCH}, and {self.batch} is not")


class Span(NamedTuple):
    """A phase in its place: the first step and the first draw that belong to it."""

    first_step: int
    first_draw: int
    steps: int
    batch: int


class Training(Spec):
    """The recipe. `growth` are phases after the first, with a larger batch (ImageNet-256^2, Table 6 footnote 6).
    `clip` bounds the gradient's norm; 0 leaves it alone. `class_dropout` is how often a label is dropped, where there
    are labels. `imported` is SHA-256 of a file of weights that were trained elsewhere (64 hexadecimal digits): such a
    run is never trained here, and what its recipe says is not known to hold."""

    steps: int
    batch: int
    optimizer: AdamW
    ema: Ema
    growth: tuple[Phase, ...] = ()
    clip: float = 0.0
    class_dropout: float = 0.1
    augmentation: float = 0.0
    precision: Precision = "float32"
    imported: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1 and self.batch >= 1, "steps and batch start at 1")
        require(self.batch <= LARGEST_BATCH, f"batch is at most {LARGEST_BATCH}, and {self.batch} is not")
        require(self.samples_seen <= LARGEST, f"steps times batch must fit int64, and {self.samples_seen} does not")
        if self.imported is not msgspec.UNSET:
            require_digest("imported", self.imported)
        require(self.clip >= 0, f"clip is a norm or 0, and {self.clip} is neither")
        for name in ("class_dropout", "augmentation"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is a probability, and {value} is not")

    @property
    def spans(self) -> tuple[Span, ...]:
        """The batch-size schedule, phase by phase, with where each begins in steps and draws."""
        spans, step, draw = [], 0, 0
        for phase in (Phase(steps=self.steps, batch=self.batch), *self.growth):
            spans.append(Span(step, draw, phase.steps, phase.batch))
            step, draw = step + phase.steps, draw + phase.steps * phase.batch
        return tuple(spans)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all phases."""
        return self.spans[-1].first_step + self.spans[-1].steps

    @property
    def samples_seen(self) -> int:
        """Images drawn over the whole run (the paper's "It. x BS")."""
        last = self.spans[-1]
        return last.first_draw + last.steps * last.batch

    def batch_at(self, step: int) -> tuple[int, int]:
        """The draws of step 0, 1, ...: (number of the first, how many).

        Raises:
            ValueError: a step behind the last one.
        """
        for span in self.spans:
            if step < span.first_step + span.steps:
                return span.first_draw + (step - span.first_step) * span.batch, span.batch
        raise ValueError(f"step {step} lies beyond the last one, {self.total_steps - 1}")
