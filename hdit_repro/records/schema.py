"""What one measurement is, whole: the run, the numbers, how they were measured and where they come from. No torch.

A number without its protocol is not a result, so neither can be written without the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import msgspec

from hdit_repro.jobs.types import Scale as Scale
from hdit_repro.spec.base import Spec, require
from hdit_repro.spec.evaluation import FRECHET_NAMES, KIND_OF, MetricKind, metric_names
from hdit_repro.spec.numerics import NUMERICS
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision

SCHEMA = 4
"""Version of the record's shape. Older ones are migrated when they are read, others are refused by name."""

PAPER_SAMPLES = 50_000
"""Samples behind a FID that carries no count in its name (Section 5.1)."""

BETTER: dict[MetricKind, Literal["lower", "higher"]] = {
    "frechet": "lower",
    "spatial-frechet": "lower",
    "frechet-infinity": "lower",
    "inception-score": "higher",
    "inception-score-ten-parts": "higher",
    "kernel": "lower",
    "kernel-chunks": "lower",
    "precision-recall": "higher",
}
"""Which way a kind of metric is better."""

METRICS: dict[str, Literal["lower", "higher"]] = {
    name: BETTER[kind]
    for extractor in FRECHET_NAMES
    for kind in get_args(MetricKind)
    for name in metric_names(kind, extractor)
}
"""Every metric's name, and which way is better. A name may end in `@COUNT` (see `metric_name`)."""

LEAST_SCORE = 1 - 1e-9
"""The least Inception score: 1, of images that are all equal, which rounding can leave a last digit below it."""

BOUNDS: dict[MetricKind, tuple[float, float]] = {
    "frechet": (0, math.inf),
    "spatial-frechet": (0, math.inf),
    "inception-score": (LEAST_SCORE, math.inf),
    "inception-score-ten-parts": (LEAST_SCORE, math.inf),
    "precision-recall": (0, 1),
}
"""Between what a value can lie, of the kinds that are no estimates which may come out on either side of zero."""

UNTRAINED, FLOOR = "untrained", "floor"
LOSS_END, LOSS_CONSTANT = "loss-end", "loss-constant"

CONTEXT: dict[str, str] = {
    UNTRAINED: "the Fréchet distance, on the record's network, of samples of the run's initial weights",
    FLOOR: "that distance of as many real images as there are samples: what a perfect model would show",
    LOSS_END: "the mean training loss at the end of training",
    LOSS_CONSTANT: "the same loss of the best constant predictor",
}
"""Companions of a number that are no results themselves."""

UNLABELLED = "none"
"""In place of how labels were chosen, for a network without classes."""

DRAWING = ("sampler", "steps", "network_evaluations", "guidance", "weights", "labels")
"""The fields of a protocol that say how samples were drawn."""

TRAINING = " while training"
"""Behind the names of `versions` that are of the training and not of the measurement: device, processes."""

PROCESSOR = "cpu"
"""How the name of a device begins that is no card."""

MADE_ELSEWHERE = "made elsewhere, how is not known here"


class Metric(Spec, frozen=True, kw_only=True):
    """A value, and where one was made, an interval `low`..`high` with the words that say how it was made."""

    value: float
    low: float | None = None
    high: float | None = None
    interval: str | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        require(all(math.isfinite(number) for number in (self.value, *ends)), "a metric must be a finite number")
        require(len(ends) in (0, 2), "an interval has two ends")
        require(bool(ends) == bool(self.interval), "an interval must say how it was made, and only an interval")
        require(not ends or ends[0] <= ends[1], f"an interval runs upwards, and {ends} does not")


class Reference(Spec, frozen=True, kw_only=True):
    """What the samples were compared with. `digest` is SHA-256 over the statistics or the images behind them."""

    kind: str
    name: str
    digest: str
    count: int
    split: str
    resolution: int
    transform: str


class Protocol(Spec, frozen=True, kw_only=True):
    """How the numbers were measured. `network_evaluations` is calls of the network per sample, guidance included.

    The fields from `sampler` to `labels` say how the samples were drawn. Of images that others made nothing of it is
    known, and all of them are None. `precision` is that of the network's products meanwhile, where it was not the
    training's.
    """

    extractor: str
    weights_digest: str
    resize: str
    reference: Reference
    samples: int
    sampler: str | None
    steps: int | None
    network_evaluations: int | None
    guidance: float | None
    weights: Literal["ema", "raw"] | None
    labels: str | None
    quantised: bool = True
    precision: Precision | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        unknown = [name for name in DRAWING if getattr(self, name) is None]
        if len(unknown) not in (0, len(DRAWING)):
            raise ValueError(f"how samples were drawn is known or not, and here {', '.join(unknown)} alone is left out")

    @property
    def drawn(self) -> bool:
        """Whether a network of ours drew the samples; others' images were made in ways that are not known here."""
        return self.sampler is not None

    def sampling_words(self) -> str:
        """How the samples were drawn, in a line."""
        if not self.drawn:
            return MADE_ELSEWHERE
        precision = "" if self.precision is msgspec.UNSET else f", in {self.precision}"
        return (
            f"{self.sampler} with {self.steps} steps, guidance {self.guidance:g}, {self.weights} weights, "
            f"{self.label_words()}{precision}"
        )

    def label_words(self) -> str:
        """How the samples' classes were chosen: "balanced labels"."""
        return "no labels" if self.labels == UNLABELLED else f"{self.labels} labels"


class Provenance(Spec, frozen=True, kw_only=True):
    """Where the numbers come from. `seconds` per stage, `time` is UTC in ISO 8601, `gpu_hours` over all stages.

    `gpu_hours_by_stage` has them by stage and by what it ran on, 0 on a processor: `{"train": {"NVIDIA H100": 40.0}}`.
    It is empty where the sum alone is known, in records of shape 3 and older.
    """

    commit: str
    dirty: bool | None
    versions: dict[str, str]
    device: str
    host: str
    seconds: dict[str, float]
    gpu_hours: float
    time: str
    gpu_hours_by_stage: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        split = [(stage, hours) for stage, used in self.gpu_hours_by_stage.items() for hours in used.values()]
        for stage, taken in (*self.seconds.items(), ("all stages", self.gpu_hours), *split):
            require(0 <= taken < math.inf, f"time is a finite number of 0 or more, and that of {stage} is {taken}")
        parts = math.fsum(hours for _, hours in split)
        require(
            not self.gpu_hours_by_stage or math.isclose(parts, self.gpu_hours, abs_tol=1e-9),
            f"GPU-hours of the stages are those of all, {self.gpu_hours}, and they come to {parts}",
        )

    @property
    def training_device(self) -> str:
        """The card or processor of the training; where none was noted, that of the measurement."""
        return self.versions.get(f"device{TRAINING}", self.device)

    @property
    def training_hardware(self) -> str:
        """The same with the number of cards, "8 NVIDIA H100", where that was noted."""
        processes = self.versions.get(f"processes{TRAINING}")
        counted = processes is not None and not on_processor(self.training_device)
        return f"{processes} {self.training_device}" if counted else self.training_device


def on_processor(device: str) -> bool:
    """Whether the name of a device, as records and stages note it ("cpu (8 cores)", "NVIDIA H100"), is no card's."""
    return device.startswith(PROCESSOR)


class Record(Spec, frozen=True, kw_only=True, dict=True):
    """One measurement. Made by `make`, written and read by `hdit_repro.records.store`.

    `names` are the rows that asked for it ("table1/E", "table2/lerp"); `run` is the spec whole, as plain values;
    `seed` is the training's and `sampling_seed` the sampling's. `numerics` are the stages' versions that its ids were
    made with; `digest` is over everything else.
    """

    schema: int
    names: tuple[str, ...]
    label: str
    scale: Scale
    seed: int
    sampling_seed: int
    run: dict[str, Any]
    numerics: dict[str, int]
    training_id: str
    sampling_id: str
    evaluation_id: str
    metrics: dict[str, Metric]
    protocol: Protocol
    provenance: Provenance
    context: dict[str, float] = msgspec.field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        require(bool(self.metrics), "a record holds at least one metric")
        for name, metric in self.metrics.items():
            base, _, count = name.partition("@")
            if base not in METRICS:
                raise ValueError(f"there is no metric called {base!r}; there are {', '.join(METRICS)}")
            least, most = BOUNDS.get(KIND_OF[base], (-math.inf, math.inf))
            require(least <= metric.value <= most, f"{name} lies from {least} to {most}, and {metric.value} does not")
            if count and int(count) != self.protocol.samples:
                raise ValueError(f"{name} names another number of samples than the protocol's {self.protocol.samples}")
        require(
            self.protocol.drawn != bool(self.run.get("external")),
            "the protocol says how samples were drawn, unless they are somebody's images: then it says nothing of it",
        )
        for name, value in self.context.items():
            if name not in CONTEXT:
                raise ValueError(f"context has no {name!r}; it has {', '.join(CONTEXT)}")
            require(0 <= value < math.inf, f"context {name!r} must be a finite number of 0 or more")

    @cached_property
    def spec(self) -> Run:
        """The run as a spec.

        Raises:
            msgspec.ValidationError: `run` is not one that this version knows.
            ValueError: its seeds are no seeds.
        """
        seeds = self.seed, self.sampling_seed
        sampling = self.run.get("sampling")
        if not isinstance(sampling, dict) or (self.run.get("seed"), sampling.get("seed")) != seeds:
            return msgspec.convert(self.run, Run)
        row = {**self.run, "seed": 0, "sampling": {**sampling, "seed": 0}}
        return _row(msgspec.json.encode(row)).repeated(*seeds)


@lru_cache(maxsize=4096)
def _row(text: bytes) -> Run:
    """A run whose seeds are zero, read once for all its repetitions, with all that they share."""
    run = msgspec.json.decode(text, type=Run)
    run.__dict__["row_id"] = run.evaluation_id
    return run


def make(
    run: Run,
    *,
    names: tuple[str, ...],
    label: str,
    scale: Scale,
    metrics: dict[str, Metric],
    protocol: Protocol,
    provenance: Provenance,
    context: dict[str, float] | None = None,
) -> Record:
    """The record of a measurement of `run`; ids, seed and versions come from it.

    Raises:
        ValueError: an unknown metric or context name, a number that is not finite, a count that contradicts, or a run
            whose id changes when it is read back (an integer where a float belongs).
    """
    plain = msgspec.json.decode(msgspec.json.encode(run))
    require(
        msgspec.convert(plain, Run).evaluation_id == run.evaluation_id,
        "a run must be built of the types that its fields name: this one reads back under another id",
    )
    record = Record(
        schema=SCHEMA,
        names=names,
        label=label,
        scale=scale,
        seed=run.seed,
        sampling_seed=run.sampling.seed,
        run=plain,
        numerics=dict(NUMERICS),
        training_id=run.training_id,
        sampling_id=run.sampling_id,
        evaluation_id=run.evaluation_id,
        metrics=metrics,
        protocol=protocol,
        provenance=provenance,
        context=context or {},
    )
    return seal(record)


def seal(record: Record) -> Record:
    """The same record as it reads back from JSON (1 becomes 1.0 where a float belongs), with its contents' digest."""
    record = msgspec.json.decode(msgspec.json.encode(record, enc_hook=_plain_number), type=Record)
    return msgspec.structs.replace(record, digest=digest_of(msgspec.to_builtins(record)))


def _plain_number(value: Any) -> float | int:
    """Python's number behind numpy's or torch's.

    Raises:
        TypeError: it is no number.
    """
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, float | int):
        raise TypeError(f"a record holds plain values, and {value!r} is none")
    return plain


def digest_of(plain: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON of everything but `digest`, whatever the schema, as 64 hexadecimal digits."""
    content = {key: value for key, value in plain.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def asked_samples(scale: Scale, count: int) -> int:
    """How many samples a metric's plain name stands for: the paper's 50,000 at its scale, else what the run draws."""
    return PAPER_SAMPLES if scale == "paper" else count


def metric_name(base: str, count: int, asked: int) -> str:
    """The name under which a number may stand: `base`, or `base@COUNT` where other than `asked` samples were used.

    A Frechet distance falls with the number of samples, so 5,000 under a protocol of 50,000 is "fid@5000".
    """
    return base if count == asked else f"{base}@{count}"
