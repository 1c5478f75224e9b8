"""Features and Frechet distances against the tools in use, on this machine, in one run.

    python benchmarks/evaluation.py [--threads 2] [--images 64] [--side 64] [--rounds 5]

One process, the same images, the same random Inception weights on both sides, turn by turn; medians of the rounds.
torch-fidelity is timed at its default batch, 64, and at several others; the ratios are given against the default and
against the batch that is fastest here. What our convolutions alone take, each by itself and warm, says how much there
is to win by anything else. --json prints all for a program.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from hdit_repro.metrics.extractors.base import CPU_GROUP
from hdit_repro.metrics.extractors.inception import InceptionFeatures, Precision
from hdit_repro.metrics.extractors.packed import Convolution
from hdit_repro.metrics.extractors.random_inception import random_state
from hdit_repro.metrics.frechet import frechet_distance
from hdit_repro.metrics.statistics import statistics_of
from hdit_repro.metrics.torchvision_shim import import_torchvision

CPU = torch.device("cpu")
WIDTH = 2048
DEFAULT_BATCH = 64
"""torch-fidelity's own, unless it is told otherwise."""
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
BATCHES = (4, 8, 16, 32, DEFAULT_BATCH)
"""What torch-fidelity is tried with; small ones suit a CPU's cache better."""


def medians(functions: Sequence[Callable[[], Any]], rounds: int) -> tuple[list[float], list[Any]]:
    """Median seconds of each function over rounds in which all take their turn, and what each gave last."""
    seconds: list[list[float]] = [[] for _ in functions]
    results: list[Any] = [None] * len(functions)
    for _ in range(rounds):
        for place, function in enumerate(functions):
            began = time.perf_counter()
            results[place] = function()
            seconds[place].append(time.perf_counter() - began)
    return [median(taken) for taken in seconds], results


def torch_fidelitys(state: dict[str, Tensor]) -> Any:
    """torch-fidelity's own network with the same weights."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    outputs = ["2048", "logits_unbiased"]
    return FeatureExtractorInceptionV3("torch-fidelity", outputs, feature_extractor_weights_path=buffer)


def pictures(count: int, side: int) -> Tensor:
    """Smooth random pictures: uint8 count 3 side side."""
    small = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def convolutions(network: InceptionFeatures, images: Tensor) -> float:
    """Seconds an image of the network's convolutions alone, each by itself on the inputs that it sees: a floor."""
    seen: list[tuple[Convolution, Tensor]] = []
    layers = [module for module in network.trunk.modules() if isinstance(module, Convolution)]
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0]))) for layer in layers]
    network.features(images[:CPU_GROUP])
    for hook in hooks:
        hook.remove()
    with torch.inference_mode():
        return sum(_least(layer, x) for layer, x in seen) / CPU_GROUP


def _least(layer: Convolution, x: Tensor) -> float:
    """Least seconds of five calls."""
    least = math.inf
    for _ in range(5):
        began = time.perf_counter()
        layer(x)
        least = min(least, time.perf_counter() - began)
    return least


def features(images: Tensor, rounds: int, precisions: Sequence[Precision]) -> dict[str, float]:
    """Images a second of torch-fidelity and of ours, and how far the features are apart."""
    state = random_state()
    peers_network = torch_fidelitys(state)
    ours = {name: InceptionFeatures(state, "0" * 64, CPU, precision=name) for name in precisions}

    def theirs(batch: int, images: Tensor = images) -> Tensor:
        with torch.inference_mode():
            return torch.cat([peers_network(part)[0] for part in images.split(batch)])

    def mine(name: Precision, images: Tensor = images) -> Tensor:
        return ours[name].features(images)["features"]

    for batch in BATCHES:  # what is chosen at the first call hangs on the shape of a batch
        theirs(batch, images[:batch])
    for name in precisions:
        mine(name, images[:CPU_GROUP])
    functions = [partial(theirs, batch) for batch in BATCHES] + [partial(mine, name) for name in precisions]
    seconds, results = medians(functions, rounds)
    rate = [len(images) / taken for taken in seconds]
    peer = dict(zip(BATCHES, rate, strict=False))
    best = max(peer, key=lambda batch: peer[batch])
    rates, found = (dict(zip(precisions, all[len(BATCHES) :], strict=True)) for all in (rate, results))
    wanted = results[BATCHES.index(DEFAULT_BATCH)]
    other = statistics_of(wanted[1::2])

    def to_other(rows: Tensor) -> float:
        part = statistics_of(rows[::2])
        return frechet_distance(part.mean, part.cov, other.mean, other.cov)

    return {
        **{f"torch-fidelity images/s, batch {batch}": value for batch, value in peer.items()},
        "torch-fidelity's default batch": DEFAULT_BATCH,
        "torch-fidelity's best batch": best,
        **{f"{name} images/s": value for name, value in rates.items()},
        **{f"{name} ratio, default batch": value / peer[DEFAULT_BATCH] for name, value in rates.items()},
        **{f"{name} ratio, best batch": value / peer[best] for name, value in rates.items()},
        **{f"{name} images/s of the convolutions alone": 1 / convolutions(ours[name], images) for name in precisions},
        **{f"{name} relative error": float((each - wanted).norm() / wanted.norm()) for name, each in found.items()},
        "FID of two halves": to_other(wanted),
        **{f"the same, one half in {name}": to_other(each) for name, each in found.items()},
    }


def distances(rounds: int) -> dict[str, float]:
    """Seconds of a Frechet distance at 2,048 features, ours and by scipy.linalg.sqrtm as pytorch-fid has it."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((WIDTH, WIDTH)) * np.geomspace(1, 1e-2, WIDTH)
    sets = [rng.standard_normal((10_000, WIDTH)) @ mixing.T * scale + scale for scale in (1.0, 1.1)]
    (mean_a, cov_a), (mean_b, cov_b) = ((rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in sets)

    def by_sqrtm() -> float:
        root = scipy.linalg.sqrtm(cov_a @ cov_b).real
        step = mean_a - mean_b
        return float(step @ step + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root))

    functions = [by_sqrtm, lambda: frechet_distance(mean_a, cov_a, mean_b, cov_b)]
    seconds, (wanted, found) = medians(functions, rounds)
    return {
        "sqrtm s": seconds[0],
        "frechet_distance s": seconds[1],
        "frechet ratio": seconds[0] / seconds[1],
        "frechet relative difference": abs(found - wanted) / wanted,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Evaluation against the tools in use, in one run.")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {
        **features(pictures(options.images, options.side), options.rounds, PRECISIONS),
        **distances(min(options.rounds, 3)),
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:46} {value:.4g}")


if __name__ == "__main__":
    main()
