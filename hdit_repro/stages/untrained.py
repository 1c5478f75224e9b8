"""What the run's own network would give before any training: the distance that a trained one must beat.

Both families end in a projection that starts at zero, so an untrained network says zero whatever it is shown. Where
that holds, the samples are drawn with a function that says zero, which costs nothing; elsewhere with the network.
"""

from __future__ import annotations

import torch
from torch import nn

from hdit_repro.jobs import Job
from hdit_repro.metrics.extractors import FeatureExtractor
from hdit_repro.metrics.extractors.base import FEATURES
from hdit_repro.metrics.statistics import Statistics
from hdit_repro.models.build import build
from hdit_repro.spec.run import Run
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.training.constant import Constant


@torch.no_grad()
def untrained_network(run: Run, device: torch.device) -> nn.Module:
    """The network before its first step, or a cheap stand-in where one forward pass shows that it says zero.

    That pass is a CPU's: on a card, attention would be compiled for a batch of one that nobody asks for again.
    """
    network = build(run.model, seed=run.seed).eval()
    side = run.data.resolution
    label = torch.zeros(1, dtype=torch.int64) if run.model.classes else None
    out = network(torch.ones(1, run.model.channels, side, side), torch.ones(1), class_cond=label)
    return network.to(device) if out.any() else Constant(torch.zeros_like(out[0]))


def untrained_statistics(job: Job, extractor: FeatureExtractor, batch: int, device: torch.device) -> Statistics:
    """Feature statistics of the untrained network's samples: as many, with the same numbers, as the run's own."""
    drawer = Drawer(job.run, untrained_network(job.run, device), device, lambda: None)
    statistics = Statistics(extractor.width)
    for first in range(0, job.run.sampling.count, batch):
        images, _ = drawer(range(first, min(first + batch, job.run.sampling.count)))
        statistics.update(extractor.features(images.to(device))[FEATURES])
    return statistics
