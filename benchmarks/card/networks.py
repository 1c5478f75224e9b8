"""The networks that are measured: the paper's three, and their peers."""

from __future__ import annotations

from pathlib import Path

import msgspec
from torch import nn

from benchmarks.authors import authors, network
from hdit_repro import jobs
from hdit_repro.cost import count
from hdit_repro.spec.model import DiT, GlobalAttention, Hourglass
from hdit_repro.spec.run import Run

RUNS = ("table1/E", "ffhq1024", "imagenet256")
FEASIBLE = {"table1/E": 256, "ffhq1024": 8, "imagenet256": 64}
"""Images at once on a card of 80 GiB; fewer where the estimate of memory says so."""

DIT, GLOBAL = "peer: DiT of equal parameters", "peer: plain attention"


def named(name: str, scale: str) -> Run:
    """A run or a peer by name, without augmentation, which is the data's work."""
    if name == DIT:
        run = dit_like(named("table1/E", scale), scale)
    elif name == GLOBAL:
        run = all_global(named("table1/E", scale))
    else:
        run = jobs.find(name, scale).run
    training = msgspec.structs.replace(run.training, augmentation=0.0, precision="bfloat16")
    return msgspec.structs.replace(run, training=training)


def dit_like(run: Run, scale: str) -> Run:
    """Row R2's DiT (DiT-B/4 on pixels, under EDM) at the depth whose parameters are nearest to the run's."""
    peer = jobs.find("table1/R2", scale).run
    assert isinstance(peer.model, DiT)
    wanted = count(run.model, run.data.resolution).parameters
    depths = [msgspec.structs.replace(peer.model, depth=depth) for depth in range(1, 2 * peer.model.depth + 1)]
    model = min(depths, key=lambda other: abs(count(other, other.resolution).parameters - wanted))
    return msgspec.structs.replace(peer, model=model)


def all_global(run: Run) -> Run:
    """The same hourglass with every token seeing every token on all levels."""
    assert isinstance(run.model, Hourglass)
    model = msgspec.structs.replace(run.model, attention=tuple(GlobalAttention() for _ in run.model.widths))
    return msgspec.structs.replace(run, model=model)


def authors_network(run: Run, folder: Path) -> nn.Module:
    """The authors' own code for the same network: F(x, sigma, class_cond=...).

    Args:
        run: an hourglass that their code can express.
        folder: a checkout of crowsonkb/k-diffusion (it needs einops, and an old natten to call this network).

    Raises:
        ImportError: their code is not there.
    """
    try:
        made: nn.Module = network(authors(folder, compiled=True), run.model)
    except SystemExit as error:
        raise ImportError(str(error)) from error
    return made
