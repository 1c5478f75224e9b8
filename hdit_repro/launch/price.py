"""What a stage costs before anybody has run it: hours by multiply-accumulates, from one printed number. No torch.

Yardstick: row E of Table 1 took 15 hours on 4 A100 (Table 6), for 400,000 steps of 256 images at 31.37e9 MACs.
"""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.cost import count
from hdit_repro.launch.clusters import Cluster, Local
from hdit_repro.spec.run import Run
from hdit_repro.spec.sampling import Heun, Sampling

YARDSTICK_HOURS = 60.0
"""A100-hours of training row E of Table 1."""

YARDSTICK_MACS = 31_369_003_008
"""MACs of row E's network, one forward pass of one image; a test holds it against `cost`."""

YARDSTICK_IMAGES = 102_400_000
"""Images that row E's training sees."""

TRAINING_PASSES = 3
"""A training image costs a forward and a backward pass, and the backward pass twice the forward."""

A100_FEATURES_PER_SECOND = 1_000.0
"""Assumption: images a second through a feature network on an A100, reading included."""

BASIS_GPU = "row E of Table 1: 60 A100-hours (Table 6), scaled by MACs x images seen"


class Price(NamedTuple):
    """GPU-hours (0 on a CPU), wall hours on the GPUs or the one CPU that the stage gets, and what both rest on."""

    gpus: int
    gpu_hours: float
    hours: float
    basis: str


def network_evaluations(sampling: Sampling) -> int:
    """Calls of the network for one sample: Heun calls twice a step but the last, guidance doubles every call."""
    steps = sampling.sampler.steps
    calls = 2 * steps - 1 if isinstance(sampling.sampler, Heun) else steps
    return calls * (1 if sampling.guidance == 1.0 else 2)


def forward_images(run: Run, stage: str) -> int:
    """A stage's work in forward passes of one image; evaluation runs another network and has none."""
    if stage == "train":
        return TRAINING_PASSES * run.training.samples_seen
    return run.sampling.count * network_evaluations(run.sampling) if stage == "sample" else 0


def price(run: Run, stage: str, scale: str, cluster: Cluster) -> Price:
    """The price of a stage of a run ("train", "sample", "evaluate") at a scale on a cluster.

    Smoke scale on this machine is priced in minutes of one CPU, everything else in hours of a GPU; a local machine's
    GPU counts as one A100, since nothing is known of it.
    """
    if scale == "smoke" and isinstance(cluster, Local):
        return _cpu(run, stage, cluster)
    speed = 1.0 if isinstance(cluster, Local) else cluster.speed
    wanted = 1 if isinstance(cluster, Local) and scale != "paper" else 4 if isinstance(cluster, Local) else cluster.train_gpus
    gpus = wanted if stage == "train" and scale == "paper" else 1
    hours = _a100_hours(run, stage) / speed
    return Price(gpus, hours, hours / gpus, _basis(stage, cluster))


def _a100_hours(run: Run, stage: str) -> float:
    if stage == "evaluate":
        return run.sampling.count / A100_FEATURES_PER_SECOND / 3600
    macs = count(run.model, run.data.resolution).macs * forward_images(run, stage)
    return YARDSTICK_HOURS * macs / (YARDSTICK_MACS * YARDSTICK_IMAGES * TRAINING_PASSES)


def _basis(stage: str, cluster: Cluster) -> str:
    if stage == "evaluate":
        basis = f"assumed: {A100_FEATURES_PER_SECOND:,.0f} images a second through the feature network on an A100"
    elif stage == "sample":
        basis = f"{BASIS_GPU}; a forward pass is a third of a training image"
    else:
        basis = BASIS_GPU
    if isinstance(cluster, Local):
        return f"{basis}; in A100-hours, whatever this machine has"
    return basis if cluster.speed == 1.0 else f"{basis}; one {cluster.gpu} = {cluster.speed:g} A100 ({cluster.speed_basis})"


def _cpu(run: Run, stage: str, cluster: Local) -> Price:
    if stage == "evaluate":
        hours = run.sampling.count / cluster.cpu_features_per_second / 3600
        return Price(0, 0.0, hours, f"{cluster.cpu_features_per_second:g} images a second and CPU")
    macs = count(run.model, run.data.resolution).macs * forward_images(run, stage)
    rate = cluster.cpu_macs_per_second
    return Price(0, 0.0, macs / rate / 3600, f"MACs x images at {rate:.2g} MACs a second and CPU")
