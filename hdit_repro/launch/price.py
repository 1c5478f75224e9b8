"""What a stage costs before anybody has run it: hours by multiply-accumulates. No torch.

They come from measured throughput where `benchmarks/results/` has a file for the card; else, for a card in this
machine, from a stated share of its peak; else from a printed bill: row E of Table 1 took 15 hours on 4 A100 (Table 6),
for 400,000 steps of 256 images at 31.37e9 MACs.
"""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.cost import count
from hdit_repro.cost.cards import CARDS, card_key, peak
from hdit_repro.launch.clusters import Cluster, Local, card_of
from hdit_repro.launch.kept import NOTHING, Kept
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.throughput import Measured, measured
from hdit_repro.launch.work import TRAINING_PASSES, arithmetic, forward_images, reference_work
from hdit_repro.records.imported import is_imported
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import Precision


class Yardstick(NamedTuple):
    """A training run whose bill the paper prints: A100-hours, MACs of a forward pass, images seen, the words, and what
    it multiplied in."""

    job: str
    a100_hours: float
    macs: int
    images: int
    basis: str
    precision: Precision = "bfloat16"


TABLE_1_E = Yardstick(
    "table1/E", 60.0, 31_369_003_008, 102_400_000, "row E of Table 1: 60 A100-hours (Table 6), scaled by MACs x images"
)
"""The yardstick of every price but FFHQ's. A test holds MACs and images against the job."""

FFHQ_1024 = Yardstick(
    "ffhq1024", 7_680.0, 206_075_854_848, 256_000_000, "FFHQ-1024²: 7,680 A100-hours (Table 6), scaled by MACs x images"
)
"""At 1024² local attention takes eight times the hours per MAC that row E takes, so that run is its own yardstick."""

YARDSTICK_CARD = "A100"
"""The card of the paper's bill, which stands for one that is not known."""

PAPER_GPUS = 4
"""GPUs of Table 6 for row E, shown where nothing else is known."""

A100_FEATURES_PER_SECOND = 1_000.0
"""Assumption: images a second through a feature network on an A100, reading included."""

ASSUMED_MFU = 0.2
"""Assumption: the share of its peak that a card which nobody measured reaches. The paper's bill of row E comes to 29 %
of an A100's, its bill of ImageNet-256² to 17 % of an H100's (a test computes both)."""

STATE_BYTES, AVERAGE_BYTES = 16, 4
"""A parameter in a checkpoint: itself, its average, and two moments, in float32; and in each further average."""

CHECKPOINTS = 3
"""How many lie there at once, about: the one before, the newest, the one being written."""

INCEPTION_BYTES, DINOV2_BYTES = 4 * (2048 + 1008 + 2023), 4 * 1024
FEATURE_BYTES = {
    "inception-2015": INCEPTION_BYTES,
    "inception-clean": INCEPTION_BYTES,
    "inception-legacy-tensorflow": INCEPTION_BYTES,
    "inception-legacy-pytorch": INCEPTION_BYTES,
    "inception-k-diffusion": INCEPTION_BYTES,
    "dinov2-vitl14-raw": DINOV2_BYTES,
    "dinov2-vitl14-normalised": DINOV2_BYTES,
    "efficientnet-lite0": 4 * (1280 + 1000),
}
"""A sample's features, logits and spatial features in float32, by extractor. A test holds the names."""

KEPT_IMAGE_BYTES = 256 << 20
"""Up to how much the images of a run are kept."""

SHOWN_IMAGES = 64
"""Of larger sets, the first ones are kept for the grid. A test holds it to the stage."""

RECORD_BYTES = 16 << 10


class Price(NamedTuple):
    """GPU-hours (0 on a CPU), wall hours on the GPUs or the one CPU that the stage gets, and what both rest on."""

    gpus: int
    gpu_hours: float
    hours: float
    basis: str


def price(run: Run, stage: str, scale: str, cluster: Cluster, real: int | None = None) -> Price:
    """The price of a stage of a run at a scale on a cluster.

    Smoke scale on this machine is priced in minutes of one CPU, everything else in hours of a GPU. Where this machine
    has no card that is known, its GPU counts as one A100.

    Args:
        run: the run.
        stage: "train", "sample" or "evaluate".
        scale: the run's.
        cluster: where it runs.
        real: images of the reference that evaluation measures, where others are kept; None is all that it needs.
    """
    found = _price(run, stage, scale, cluster)
    if real is None:
        real = sum(reference_work(run).values())
    if stage != "evaluate" or not real:
        return found
    times = 1 + real / run.sampling.count
    basis = f"{found.basis}; {real:,} images of the reference too, whose features are not kept yet"
    return Price(found.gpus, times * found.gpu_hours, times * found.hours, basis)


def _price(run: Run, stage: str, scale: str, cluster: Cluster) -> Price:
    """See `price`; evaluation without the images of its reference."""
    if run.external and stage == "train":
        return Price(0, 0.0, 0.0, "images of others have nothing to be trained")
    if stage == "train" and is_imported(run):
        return Price(0, 0.0, 0.0, "trained elsewhere: an import brings it, and no training makes it")
    if run.external:
        stage = "evaluate"  # their images go through the feature network, and no other
    if scale == "smoke" and isinstance(cluster, Local):
        return _cpu(run, stage, cluster)
    gpus = 1
    if stage == "train" and scale == "paper":
        gpus = PAPER_GPUS if isinstance(cluster, Local) else cluster.train_gpus
    elif stage == "train" and isinstance(cluster, Slurm):
        gpus = cluster.train_gpus_below_paper
    card = card_of(cluster)
    found = measured(card)
    answer = _from_measurement(run, stage, found) if found is not None else None
    if answer is None and isinstance(cluster, Local):
        answer = _from_peak(run, stage, card)
    hours, basis = answer or _from_bill(run, stage, cluster)
    return Price(gpus, hours, hours / gpus, basis)


def cpu_hours(run: Run, stage: str, cluster: Local) -> float:
    """Hours of a stage on one CPU of this machine, whatever its scale."""
    return _cpu(run, stage, cluster).hours


def unit(cluster: Cluster) -> str:
    """The card that GPU-hours on a cluster are hours of."""
    card = card_of(cluster)
    return card if isinstance(cluster, Slurm) else card_key(card) or YARDSTICK_CARD


def disk(run: Run, stage: str, kept: Kept = NOTHING) -> int:
    """Bytes that a stage leaves, about: checkpoints, averages kept for good, features with images where they are few,
    a record."""
    if stage == "train" and run.external:
        return 0
    if stage == "train" and is_imported(run):
        return count(run.model, run.data.resolution).parameters * 2 * AVERAGE_BYTES
    if stage == "train":
        further = AVERAGE_BYTES * len(kept.decays)
        each = CHECKPOINTS * (STATE_BYTES + further) + len(kept.steps) * (AVERAGE_BYTES + further)
        return count(run.model, run.data.resolution).parameters * each
    if stage == "evaluate":
        return RECORD_BYTES
    features = FEATURE_BYTES[kind_of(run.evaluation.extractor)] * run.sampling.count
    image = run.model.channels * run.data.resolution**2
    every = run.sampling.count * image
    return features + (every if every <= KEPT_IMAGE_BYTES else min(SHOWN_IMAGES, run.sampling.count) * image)


def yardstick(run: Run) -> Yardstick:
    """The printed bill that a run's price is scaled from."""
    return FFHQ_1024 if run.data.resolution >= 1024 else TABLE_1_E


def _from_measurement(run: Run, stage: str, found: Measured) -> tuple[float, str] | None:
    """Hours from a measurement of the card, and the words; None where nothing of the kind was measured."""
    if stage == "evaluate":
        rate = found.features_per_second
        if rate is None:
            return None
        words = f"measured: {rate:,.4g} images/s through Inception on {found.card} ({found.where})"
        return run.sampling.count / rate / 3600, words
    macs = count(run.model, run.data.resolution).macs
    near = found.nearest(stage, macs, arithmetic(run, stage))
    if near is None:
        return None
    times, brought = _brought(run, stage, near.precision, found.card)
    scaled = "" if near.macs == macs else ", scaled by MACs"
    words = f"measured: {near.words}{scaled}, on {found.card} ({found.where}){brought}"
    return times * macs * forward_images(run, stage) / near.macs_per_second / 3600, words


def _from_peak(run: Run, stage: str, card: str) -> tuple[float, str] | None:
    """Hours from a stated share of the peak of the card in this machine; None where it has none that is known."""
    precision = arithmetic(run, stage)
    most = peak(card, precision)
    if most is None or stage == "evaluate":
        return None
    flops = 2 * count(run.model, run.data.resolution).macs * forward_images(run, stage)
    words = f"assumed: {ASSUMED_MFU:.0%} of {card}'s peak of {most / 1e12:,.4g} TFLOP/s in {precision}"
    return flops / (most * ASSUMED_MFU) / 3600, words


def _from_bill(run: Run, stage: str, cluster: Cluster) -> tuple[float, str]:
    """Hours from the paper's printed bill, brought to the cluster's cards."""
    speed = 1.0 if isinstance(cluster, Local) else cluster.speed
    times, brought = 1.0, ""
    if stage != "evaluate":
        times, brought = _brought(run, stage, yardstick(run).precision, card_of(cluster))
    return times * _a100_hours(run, stage) / speed, _basis(run, stage, cluster) + brought


def _brought(run: Run, stage: str, known: Precision, card: str) -> tuple[float, str]:
    """How many times as long a stage takes in its own arithmetic as in the one that its price rests on, by the peaks
    of the card, or of an A100 where that is not known; and the words, none where they are one."""
    wanted = arithmetic(run, stage)
    if wanted == known:
        return 1.0, ""
    name = card_key(card) or YARDSTICK_CARD
    before, after = (float(getattr(CARDS[name], one)) for one in (known, wanted))
    return (
        before / after,
        f"; brought from {known} to {wanted} by {name}'s peaks, {before:,.4g} and {after:,.4g} TFLOP/s",
    )


def _a100_hours(run: Run, stage: str) -> float:
    if stage == "evaluate":
        return run.sampling.count / A100_FEATURES_PER_SECOND / 3600
    bill = yardstick(run)
    macs = count(run.model, run.data.resolution).macs * forward_images(run, stage)
    return bill.a100_hours * macs / (bill.macs * bill.images * TRAINING_PASSES)


def _basis(run: Run, stage: str, cluster: Cluster) -> str:
    if stage == "evaluate":
        basis = f"assumed: {A100_FEATURES_PER_SECOND:,.0f} images a second through the feature network on an A100"
    else:
        basis = yardstick(run).basis
    if stage == "sample":
        basis = f"{basis}; a forward pass is a third of a training image"
    if isinstance(cluster, Local):
        return f"{basis}; in A100-hours, whatever this machine has"
    if cluster.speed == 1.0:
        return basis
    return f"{basis}; one {cluster.gpu} = {cluster.speed:g} A100 ({cluster.speed_basis})"


def _cpu(run: Run, stage: str, cluster: Local) -> Price:
    if stage == "evaluate":
        rate = cluster.cpu_features_per_second
        return Price(0, 0.0, run.sampling.count / rate / 3600, f"{rate:g} images a second through the feature network")
    macs = count(run.model, run.data.resolution).macs * forward_images(run, stage)
    rate = cluster.cpu_macs_per_second
    return Price(0, 0.0, macs / rate / 3600, f"MACs x images at {rate:.2g} MACs a second and CPU")
